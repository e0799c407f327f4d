import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { makeCertificate } from '../../test/support/made-certificate.ts';
import { temporaryFolder } from '../../test/support/temporary-folder.ts';
import { parseEdgeConfig } from './config.ts';
import { compareConfigs, withReloaded } from './reload.ts';
import { readTlsFiles } from './tls-files.ts';

let folder: string;
beforeEach(async () => {
  folder = await temporaryFolder();
  for (const name of ['one', 'other']) {
    const { certPem, keyPem } = await makeCertificate(`${name}.example`);
    await writeFile(join(folder, `${name}.crt`), certPem);
    await writeFile(join(folder, `${name}.key`), keyPem);
  }
  await writeFile(join(folder, 'text'), 'Hello');
});

const config = (gateway: string) =>
  parseEdgeConfig(`gateway: { edgeDomain: edge.example, ${gateway} }`, 'orilla.yaml', folder);
const tls = (...pairs: readonly (readonly [cert: string, key: string])[]) =>
  `tls: { listen: 8443, certificates: [${pairs.map(([cert, key]) => `{ certFile: ${cert}, keyFile: ${key} }`).join()}] }`;
const origin = (upstream: string, caFile: string) =>
  `origins: { photos: { hosts: [photos.example], upstream: "${upstream}", upstreamCaFile: ${caFile} } }`;

describe('the files for TLS', () => {
  it('are read from where the configuration is, in its order', async () => {
    const { certificates, authorities } = await readTlsFiles(
      config(
        `${tls(['one.crt', 'one.key'], ['other.crt', 'other.key'])}, ${origin('https://[::1]', 'other.crt')}`,
      ),
    );
    expect(certificates).toHaveLength(2);
    expect(authorities.get('photos')).toBe(certificates[1]?.certPem);
    expect(await readTlsFiles(config(''))).toEqual({ certificates: [], authorities: new Map() });
  });

  it('that are none are told all at once, with key, file and what was expected', async () => {
    const faulty = config(
      `${tls(['none.crt', 'text'], ['one.crt', 'other.key'], ['one.key', 'one.crt'])}, ${origin('https://a.example', 'text')}`,
    );
    await expect(readTlsFiles(faulty)).rejects.toMatchObject({
      code: 'config_invalid',
      message: [
        `gateway.tls.certificates[0].certFile: cannot read ${folder}/none.crt: ENOENT: no such file or directory, open '${folder}/none.crt'`,
        `gateway.tls.certificates[0].keyFile: got ${folder}/text: expected a private key in PEM, without a passphrase`,
        `gateway.tls.certificates[1].keyFile: got ${folder}/other.key: expected the private key of the first certificate in ${folder}/one.crt`,
        `gateway.tls.certificates[2].certFile: got ${folder}/one.key: expected a certificate in PEM, and behind it those that vouch for it`,
        `gateway.tls.certificates[2].keyFile: got ${folder}/one.crt: expected a private key in PEM, without a passphrase`,
        `gateway.origins.photos.upstreamCaFile: got ${folder}/text: expected one certificate or more in PEM`,
      ].join('\n'),
    });
  });

  it.for([
    ['tls: { listen: 8443, certificates: [] }', 'gateway.tls.certificates'],
    ['tls: { listen: 8443 }', 'gateway.tls.certificates'],
    [origin('http://a.example', 'one.crt'), 'gateway.origins.photos.upstreamCaFile'],
  ] as const)('are asked for where they are needed: %s', ([text, key]) => {
    expect(() => config(text)).toThrow(`${key}: `);
  });

  it('may be others after a reload, at the same address', () => {
    const before = config(tls(['one.crt', 'one.key']));
    const after = config(tls(['other.crt', 'other.key']).replace('8443', '9443'));
    expect(compareConfigs(before, after)).toEqual({
      applied: ['gateway.tls.certificates'],
      needRestart: ['gateway.tls.listen'],
    });
    expect(withReloaded(before, after).gateway.tls).toMatchObject({
      listen: { port: 8443 },
      certificates: [{ certFile: join(folder, 'other.crt') }],
    });
    expect(withReloaded(before, config('')).gateway.tls).toEqual(before.gateway.tls);
    expect(withReloaded(config(''), after).gateway.tls).toBeUndefined();
  });
});
