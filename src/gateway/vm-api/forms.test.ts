import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseForgivingJson } from './forgiving-json.ts';
import { onceOf } from './idempotency-key.ts';
import { preferredForm, preferredWaitMs, prefersAsync } from './negotiation.ts';
import { toXml } from './xml.ts';
import { parseXmlRequest } from './xml-request.ts';

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

  it('is no wait when it says so', () => {
    expect(prefersAsync('respond-async')).toBe(true);
    expect(prefersAsync('wait=10, Respond-Async')).toBe(true);
    expect(prefersAsync('respond-asynchronously')).toBe(false);
    expect(prefersAsync(undefined)).toBe(false);
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

describe('a request in XML', () => {
  it('is read as the API writes it', () => {
    const name = fc
      .stringMatching(/^[a-z]{1,8}$/)
      .filter((text) => !['methods', 'paths', 'cpus'].includes(text));
    const text = fc.string().map((value) => value.trim());
    const object = fc.dictionary(name, fc.oneof(text, fc.dictionary(name, text, { minKeys: 1 })), {
      minKeys: 1,
    });
    fc.assert(
      fc.property(object, (virtualmachine) => {
        const xml = toXml({ virtualmachine });
        // What XML cannot write was replaced; what is left is read as it is.
        const read = parseXmlRequest(xml);
        expect(toXml(read as object)).toBe(xml);
      }),
    );
    const scope = { methods: ['GET'], paths: ['/a', '/b&c'] };
    expect(parseXmlRequest(toXml({ virtualmachine: { cpus: 2, scope } }))).toEqual({
      virtualmachine: { cpus: 2, scope },
    });
  });

  it('may have references to characters, and empty elements', () => {
    expect(parseXmlRequest('<a><b>&#x41;&#66;&lt;&amp;lt;</b><c/><d></d></a>')).toEqual({
      a: { b: 'AB<&lt;', c: '', d: '' },
    });
  });

  it.for([
    ['', 'one element'],
    ['text', 'one element'],
    ['<a/><b/>', 'one element'],
    ['<a>', 'not closed'],
    ['</a>', 'closes nothing'],
    ['<a></b>', 'closes nothing'],
    ['<a x="1"/>', 'begins with'],
    ['<a><!-- --></a>', 'begins with'],
    ['<a><![CDATA[x]]></a>', 'begins with'],
    ['<!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd"><a/>', 'begins with'],
    ['<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', 'begins with'],
    ['<a>&b;</a>', 'entity &b'],
    ['<a>&constructor;</a>', 'entity &'],
    ['<a>&amp</a>', 'entity &'],
    ['<a>&#0;</a>', 'entity &#0'],
    ['<a>&#x110000;</a>', 'entity &#x110000'],
    ['<a><b/><b/></a>', 'twice'],
    ['<a>x<b/></a>', 'both elements and text'],
    ['<a>'.repeat(9) + '</a>'.repeat(9), 'too deep'],
    ['<a><__proto__>x</__proto__></a>', 'begins with'],
  ] as const)('%j is refused', ([text, words]) => {
    expect(() => parseXmlRequest(text)).toThrow(
      expect.objectContaining({ code: 'invalid_xml', message: expect.stringContaining(words) }),
    );
  });

  it('takes no longer for a text that is all mistakes', () => {
    for (const text of ['<'.repeat(16_000), '&'.repeat(16_000), '<a>'.repeat(5000), ' '.repeat(16_000)]) {
      expect(() => parseXmlRequest(text)).toThrow();
    }
  });
});

describe('an Idempotency-Key', () => {
  it.for([
    ['"8e03978e-40d5"', '8e03978e-40d5'],
    ['8e03978e-40d5', '8e03978e-40d5'],
    ['"a \\"b\\" \\\\"', 'a "b" \\'],
  ] as const)('%s is a string in quotes, or a word', ([header, key]) => {
    expect(onceOf(header, ['a'])?.key).toBe(key);
  });

  it.for(['', '""', '"a', 'a b', '"a", "b"', `"${'x'.repeat(129)}"`, '"\u00e9"'])('%s is none', (header) => {
    expect(() => onceOf(header, [])).toThrow(expect.objectContaining({ code: 'invalid_idempotency_key' }));
  });

  it('stands for what is asked', () => {
    expect(onceOf('a', [1])).toEqual(onceOf('a', [1]));
    expect(onceOf('a', [1])?.fingerprint).not.toBe(onceOf('a', [2])?.fingerprint);
    expect(onceOf(undefined, [1])).toBeUndefined();
  });
});
