import { describe, expect, it } from 'vitest';
import { clientHeaders, upstreamHeaders } from './headers.ts';

const context = {
  clientAddress: '192.0.2.9',
  host: 'photos.example:8080',
  upstreamHost: 'photos.example',
  tagFields: ['Bng-API-Server', '192.0.2.1'],
} as const;

describe('the head that goes to an origin', () => {
  it('carries the tag, and only the one of this gateway [gateway G1]', () => {
    const forged = [
      'Bng-API-Server',
      '198.51.100.1',
      'bng_api_url',
      'x',
      'BNG-Assigned-Server',
      'y',
      'Bng-API-URL',
      'z',
    ];
    const headers = upstreamHeaders(['Accept', '*/*', ...forged], context);
    expect(headers.filter((part) => /bng/i.test(part))).toEqual(['Bng-API-Server']);
    expect(headers.at(-1)).toBe('192.0.2.1');
  });

  it('drops what could pass for a signature of the gateway', () => {
    const headers = upstreamHeaders(
      ['Signature', 'a', 'Signature-Input', 'b', 'signature_input', 'c', 'Orilla-X', 'd'],
      context,
    );
    expect(headers.join(' ')).not.toMatch(/signature|orilla/i);
  });

  it('keeps names, spelling, order and repetition of everything else [gateway G3]', () => {
    const raw = ['aCCept', 'text/html', 'Cookie', 'a=1', 'X-Twice', '1', 'X-Twice', '2'];
    expect(upstreamHeaders(raw, context).slice(2, 10)).toEqual(raw);
  });

  it('drops fields of the connection and those that it names, but never what frames the body', () => {
    const raw = [
      'Connection',
      'close, X-Once, Content-Length',
      'X-Once',
      '1',
      'Content-Length',
      '5',
      'TE',
      'trailers',
    ];
    const headers = upstreamHeaders(raw, context);
    expect(headers).not.toContain('X-Once');
    expect(headers).not.toContain('TE');
    expect(headers).toContain('Content-Length');
  });

  it('tells who the client is, and does not believe what the client says of that', () => {
    const headers = upstreamHeaders(
      ['X-Forwarded-For', '203.0.113.7', 'Forwarded', 'for=203.0.113.7'],
      context,
    );
    expect(headers).not.toContain('203.0.113.7');
    expect(headers[headers.indexOf('X-Forwarded-For') + 1]).toBe('192.0.2.9');
    expect(headers[headers.indexOf('X-Forwarded-Host') + 1]).toBe('photos.example:8080');
  });

  it('has no tag when it goes to a VM', () => {
    expect(upstreamHeaders([], { ...context, tagFields: [] }).join(' ')).not.toMatch(/bng/i);
  });
});

describe('the head that goes back', () => {
  it('says who served, whatever the upstream claims', () => {
    const headers = clientHeaders(
      ['Orilla-Served-By', 'vm/forged', 'Set-Cookie', 'a', 'Set-Cookie', 'b'],
      'origin',
    );
    expect(headers).toEqual(['Set-Cookie', 'a', 'Set-Cookie', 'b', 'Orilla-Served-By', 'origin']);
  });

  it('says nothing about it when that is switched off', () => {
    expect(clientHeaders(['Orilla-Served-By', 'x', 'Keep-Alive', 'timeout=5'], undefined)).toEqual([]);
  });
});
