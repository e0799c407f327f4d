/**
 * TLS, the same for all who take part: one certificate, one version, one cipher suite. Left to themselves each proxy would
 * choose its own suite, and at large bodies that choice would be what is measured.
 * @module
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runCommand } from '../../src/platform/process/index.ts';

export const TLS_VERSION = 'TLSv1.3';
/** The one that everybody has (RFC 8446 §9.1). */
export const TLS_SUITE = 'TLS_AES_128_GCM_SHA256';

/** Files in PEM. */
export interface Certificate {
  readonly certFile: string;
  readonly keyFile: string;
  /** Certificate and key, as haproxy wants them. */
  readonly bothFile: string;
}

/** A certificate for `host`, signed by itself; its key is ECDSA on P-256, as most of the web has it. */
export async function makeCertificate(openssl: string, folder: string, host: string): Promise<Certificate> {
  const file = (name: string) => join(folder, name);
  const certificate = {
    certFile: file('cert.pem'),
    keyFile: file('key.pem'),
    bothFile: file('cert-and-key.pem'),
  };
  const { certFile, keyFile, bothFile } = certificate;
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', keyFile];
  const names = ['-subj', `/CN=${host}`, '-addext', `subjectAltName=DNS:${host}`];
  await runCommand(openssl, ['req', '-x509', ...key, '-out', certFile, '-days', '2', ...names], {
    timeoutMs: 10_000,
  });
  const both = await Promise.all([certFile, keyFile].map((each) => readFile(each)));
  await writeFile(bothFile, Buffer.concat(both), { mode: 0o600 });
  return certificate;
}

/** What `OPENSSL_CONF` names for the load generators: wrk has no options for it. */
export const CLIENT_TLS = `\
openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = clients
[clients]
MinProtocol = ${TLS_VERSION}
Ciphersuites = ${TLS_SUITE}
`;
