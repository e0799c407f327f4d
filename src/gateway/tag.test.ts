import { describe, expect, it } from 'vitest';
import { isReservedHeader, makeTag } from './tag.ts';

describe('the tag', () => {
  it('has the three forms of the document [gateway G1]', () => {
    expect(makeTag('api-server', '11.22.1.1')).toMatchObject({ name: 'Bng-API-Server', value: '11.22.1.1' });
    const host = 'virtualmachine.api.bng1234.example';
    expect(makeTag('api-server', host)).toMatchObject({ name: 'Bng-API-Server', value: host });
    expect(makeTag('api-url', host)).toMatchObject({
      name: 'Bng-API-URL',
      value: `${host}/version1/virtualmachine`,
    });
  });

  it('cannot be sent by a client, in whatever spelling', () => {
    for (const name of [
      'Bng-API-Server',
      'BNG_API_URL',
      'bng-x',
      'Signature',
      'signature-input',
      'Signature_Input',
      'Orilla-Served-By',
    ]) {
      expect(isReservedHeader(name), name).toBe(true);
    }
    for (const name of ['Accept', 'X-Signature', 'Signatures', 'Bngx', 'Host']) {
      expect(isReservedHeader(name), name).toBe(false);
    }
  });
});
