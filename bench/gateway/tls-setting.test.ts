import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findProgram } from './peers.ts';
import { makeCertificate } from './tls-setting.ts';

const openssl = findProgram('openssl');

describe.skipIf(openssl === undefined)('the certificate of all proxies', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'orilla-certificate-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  test('is for the host, with a key of its own on P-256; haproxy finds both in one file', async () => {
    const files = await makeCertificate(openssl ?? '', folder, 'a.example');
    const [certPem, keyPem, both] = await Promise.all(
      [files.certFile, files.keyFile, files.bothFile].map((file) => readFile(file, 'utf8')),
    );
    const certificate = new X509Certificate(certPem ?? '');
    const key = createPrivateKey(keyPem ?? '');
    expect(certificate.checkHost('a.example')).toBe('a.example');
    expect(certificate.checkHost('b.example')).toBeUndefined();
    expect(certificate.checkPrivateKey(key)).toBe(true);
    expect(key.asymmetricKeyDetails?.namedCurve).toBe('prime256v1');
    expect(both).toBe(`${certPem}${keyPem}`);
  });
});
