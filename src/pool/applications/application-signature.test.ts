import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { checkApplicationSignature, readApplicationKey, signApplication } from './application-signature.ts';

const pairOf = (type: 'ed25519' | 'ed448') => {
  const { publicKey, privateKey } = generateKeyPairSync(type as 'ed25519');
  return { privateKey, pem: publicKey.export({ type: 'spki', format: 'pem' }) };
};
const APPLICATION = { digest: `sha256:${'ab'.repeat(32)}`, name: 'notes' };

describe('the signature of an application', () => {
  const own = pairOf('ed25519');
  const foreign = pairOf('ed25519');
  const keys = [readApplicationKey(foreign.pem), readApplicationKey(own.pem)];
  const signature = signApplication(APPLICATION, own.privateKey);

  test('tells by which of the registered keys it was made [gateway G13]', () => {
    expect(checkApplicationSignature(APPLICATION, signature, keys)).toBe(keys[1]?.id);
  });

  test.for([
    ['of another file', { ...APPLICATION, digest: `sha256:${'ac'.repeat(32)}` }, signature, keys],
    ['of another name', { ...APPLICATION, name: 'other' }, signature, keys],
    ['by a key that is not registered', APPLICATION, signature, keys.slice(0, 1)],
    ['where no key is registered', APPLICATION, signature, []],
    ['that is none', APPLICATION, '', keys],
    ['with one octet changed', APPLICATION, `${signature[0] === 'A' ? 'B' : 'A'}${signature.slice(1)}`, keys],
    ['with something after it', APPLICATION, `${signature}AAAA`, keys],
  ] as const)('%s is refused', ([, application, given, registered]) => {
    expect(() => checkApplicationSignature(application, given, registered)).toThrow(
      expect.objectContaining({ code: 'application_signature_invalid', status: 403 }),
    );
  });

  test.for([
    ['words', 'a key'],
    ['a private key', own.privateKey.export({ type: 'pkcs8', format: 'pem' })],
    ['a key of another kind', pairOf('ed448').pem],
    ['something long', `-----BEGIN PUBLIC KEY-----\n${'A'.repeat(5000)}`],
  ] as const)('%s is no key', ([, pem]) => {
    expect(() => readApplicationKey(pem)).toThrow(
      expect.objectContaining({ code: 'application_key_invalid' }),
    );
  });
});
