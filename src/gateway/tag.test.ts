import { describe, expect, it } from 'vitest';
import { isReservedHeader, tagHeader } from './tag.ts';

describe('the tag', () => {
  it('has the three forms of the document [gateway G1]', () => {
    expect(tagHeader('api-server', '11.22.1.1')).toEqual({ name: 'Bng-API-Server', value: '11.22.1.1' });
    const host = 'virtualmachine.api.bng1234.example';
    expect(tagHeader('api-server', host)).toEqual({ name: 'Bng-API-Server', value: host });
    expect(tagHeader('api-url', host)).toEqual({
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
