/**
 * Who vouches for an application: an Ed25519 signature (RFC 8032) over these octets, UTF-8, each line ended by a line feed:
 *
 *     orilla.application-signature/1
 *     sha256:<digest of the artifact, 64 hexadecimal digits>
 *     <name>
 *
 * The signature is written in base64, 88 characters.
 * @module
 */
import { createHash, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { poolError } from '../errors.ts';

/** A public key whose signatures are taken. */
export interface ApplicationKey {
  /** The first 16 hexadecimal digits of the SHA-256 of its SPKI form in DER. */
  readonly id: string;
  /** SPKI in PEM. */
  readonly publicKey: string;
}

/** What is signed. */
export interface SignedApplication {
  readonly digest: string;
  readonly name: string;
}

/** A PEM with an Ed25519 key and nothing much else has 113 octets. */
const PEM_LIMIT = 4096;
const SIGNATURE = /^[A-Za-z0-9+/]{86}==$/;

/** @throws `application_key_invalid` for what is no Ed25519 public key. */
export function readApplicationKey(pem: string): ApplicationKey {
  const key = publicKeyOf(pem);
  const der = key.export({ type: 'spki', format: 'der' });
  return {
    id: createHash('sha256').update(der).digest('hex').slice(0, 16),
    publicKey: key.export({ type: 'spki', format: 'pem' }),
  };
}

/** @param privateKey Ed25519. */
export function signApplication(application: SignedApplication, privateKey: KeyObject): string {
  return sign(null, signedOctets(application), privateKey).toString('base64');
}

/**
 * The id of the key by which the application is signed.
 *
 * @throws `application_signature_invalid` when none of the keys signed just this.
 */
export function checkApplicationSignature(
  application: SignedApplication,
  signature: string,
  keys: readonly ApplicationKey[],
): string {
  if (SIGNATURE.test(signature)) {
    const octets = signedOctets(application);
    const signed = Buffer.from(signature, 'base64');
    const key = keys.find(({ publicKey }) => verify(null, octets, publicKeyOf(publicKey), signed));
    if (key) return key.id;
  }
  throw poolError(
    'application_signature_invalid',
    `the application ${application.name} ${application.digest} is not signed by any of the ${keys.length} keys that are ` +
      'registered for its owner',
  );
}

const signedOctets = ({ digest, name }: SignedApplication): Buffer =>
  Buffer.from(`orilla.application-signature/1\n${digest}\n${name}\n`);

function publicKeyOf(pem: string): KeyObject {
  if (pem.length <= PEM_LIMIT && pem.includes('-----BEGIN PUBLIC KEY-----')) {
    try {
      const key = createPublicKey(pem);
      if (key.asymmetricKeyType === 'ed25519') return key;
    } catch {
      // Told below, as is a key of another kind.
    }
  }
  throw poolError('application_key_invalid', 'expected an Ed25519 public key, SPKI in PEM');
}
