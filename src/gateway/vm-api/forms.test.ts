import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseForgivingJson } from './forgiving-json.ts';
import { preferredForm, preferredWaitMs } from './negotiation.ts';
import { toXml } from './xml.ts';

describe('forgiving JSON', () => {
  it('reads whatever JSON can write', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = JSON.stringify(value);
        expect(parseForgivingJson(text)).toEqual(JSON.parse(text));
      }),
    );
  });

  it('reads it also with a comma before each closing bracket, and leaves commas in strings alone', () => {
    const value = fc.jsonValue().filter((json) => typeof json === 'object' && json !== null);
    fc.assert(
      fc.property(value, (json) => {
        const text = JSON.stringify(json, undefined, 1).replace(/([^[{,\s])(\s*\n\s*[}\]])/g, '$1,$2');
        expect(parseForgivingJson(text)).toEqual(JSON.parse(JSON.stringify(json)));
      }),
    );
    expect(parseForgivingJson('{"a": ",}", "b": ["\\",]",],}')).toEqual({ a: ',}', b: ['",]'] });
  });

  it('forgives nothing else', () => {
    for (const text of ['', '{a: 1}', '{"a": 1,,}', "{'a': 1}", '[,]x', '{"a": 1']) {
      expect(() => parseForgivingJson(text), text).toThrow('not JSON');
    }
  });
});

describe('what the client prefers', () => {
  it('is JSON unless XML weighs more', () => {
    expect(preferredForm(undefined)).toBe('json');
    expect(preferredForm('*/*')).toBe('json');
    expect(preferredForm('text/html')).toBe('json');
    expect(preferredForm('application/xml')).toBe('xml');
    expect(preferredForm('application/xml;q=0.5, application/json;q=0.9')).toBe('json');
    expect(preferredForm('application/json;q=0.1, text/xml')).toBe('xml');
    expect(preferredForm('application/xml;q=0')).toBe('json');
  });

  it('is a wait of at most a minute', () => {
    expect(preferredWaitMs(undefined)).toBe(0);
    expect(preferredWaitMs('respond-async, wait=10')).toBe(10_000);
    expect(preferredWaitMs('wait="5"')).toBe(5000);
    expect(preferredWaitMs('wait=99999')).toBe(60_000);
    expect(preferredWaitMs('await=3')).toBe(0);
  });
});

describe('XML', () => {
  it('is well-formed whatever a reason holds', () => {
    const xml = toXml({
      virtualmachine: { name: 'a', reason: '</reason><script> & "\u0000\uD800', ip: undefined },
    });
    expect(xml).toContain('<reason>&lt;/reason&gt;&lt;script&gt; &amp; &quot;\uFFFD\uFFFD</reason>');
  });
});
