import { describe, expect, it } from 'vitest';
import { makeTag } from './tag.ts';

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
});
