import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { messageOf } from '../base/index.ts';
import { configError } from '../platform/config/index.ts';
import type { EdgeConfig } from './config.ts';

/** What stands in the files for TLS that a configuration names. */
export interface TlsFiles {
  /** In the order of the configuration: the first is for clients that ask for no name, or an unknown one. */
  readonly certificates: readonly { readonly certPem: string; readonly keyPem: string }[];
  /** By origin, the authorities that its certificate may be from, in PEM. */
  readonly authorities: ReadonlyMap<string, string>;
}

/** @throws `config_invalid` naming, for each fault, the key, the file and what was expected. */
export async function readTlsFiles({ gateway }: EdgeConfig): Promise<TlsFiles> {
  const faults: string[] = [];
  const certificates: { certPem: string; keyPem: string }[] = [];
  for (const [index, { certFile, keyFile }] of (gateway.tls?.certificates ?? []).entries()) {
    const key = `gateway.tls.certificates[${index}]`;
    const cert = await read(faults, `${key}.certFile`, certFile, A_CERTIFICATE, firstCertificate);
    const own = await read(faults, `${key}.keyFile`, keyFile, A_KEY, privateKey);
    if (!cert || !own) continue;
    const fault = pairFault(cert, own);
    if (fault === undefined) certificates.push({ certPem: cert.pem, keyPem: own.pem });
    else faults.push(`${key}.keyFile: got ${keyFile}: ${fault} ${certFile}`);
  }
  const authorities = new Map<string, string>();
  for (const [origin, { upstreamCaFile }] of Object.entries(gateway.origins)) {
    if (upstreamCaFile === undefined) continue;
    const key = `gateway.origins.${origin}.upstreamCaFile`;
    const ca = await read(faults, key, upstreamCaFile, AN_AUTHORITY, firstCertificate);
    if (ca) authorities.set(origin, ca.pem);
  }
  if (faults.length > 0) throw configError('config_invalid', faults.join('\n'));
  return { certificates, authorities };
}

const A_CERTIFICATE = 'expected a certificate in PEM, and behind it those that vouch for it';
const A_KEY = 'expected a private key in PEM, without a passphrase';
const AN_AUTHORITY = 'expected one certificate or more in PEM';

interface Parsed<Value> {
  readonly pem: string;
  readonly value: Value;
}

const firstCertificate = (pem: string): X509Certificate => new X509Certificate(pem);
const privateKey = (pem: string): KeyObject => createPrivateKey(pem);

async function read<Value>(
  faults: string[],
  key: string,
  file: string,
  expected: string,
  parse: (pem: string) => Value,
): Promise<Parsed<Value> | undefined> {
  let pem: string;
  try {
    pem = await readFile(file, 'utf8');
  } catch (error) {
    faults.push(`${key}: cannot read ${file}: ${messageOf(error)}`);
    return undefined;
  }
  try {
    return { pem, value: parse(pem) };
  } catch {
    faults.push(`${key}: got ${file}: ${expected}`);
    return undefined;
  }
}

/** Why the two cannot be used together. */
function pairFault(cert: Parsed<X509Certificate>, key: Parsed<KeyObject>): string | undefined {
  if (!cert.value.checkPrivateKey(key.value)) return 'expected the private key of the first certificate in';
  try {
    createSecureContext({ cert: cert.pem, key: key.pem });
    return undefined;
  } catch (error) {
    return `TLS does not take it (${messageOf(error)}) with`;
  }
}
