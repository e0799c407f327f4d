import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ResponseReader } from './response-reader.ts';

const answer = (body: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\nA: b\r\n\r\n${body}`;

describe('a reader of answers', () => {
  test('counts them at every way to cut them', () => {
    const octets = Buffer.from([answer('first'), answer(''), answer('a\r\n\r\nb')].join(''));
    fc.assert(
      fc.property(fc.array(fc.nat(octets.length), { maxLength: 8 }), (cuts) => {
        const at = [0, ...cuts.toSorted((a, b) => a - b), octets.length];
        const reader = new ResponseReader();
        const ended = at.slice(1).map((end, index) => reader.push(octets.subarray(at[index], end)));
        return ended.reduce((sum, count) => sum + count, 0) === 3;
      }),
    );
  });

  test('says that one has ended no sooner than with its last octet', () => {
    const octets = Buffer.from(answer('body'));
    const reader = new ResponseReader();
    const counts = Array.from(octets, (_, index) => reader.push(octets.subarray(index, index + 1)));
    expect(counts.indexOf(1)).toBe(octets.length - 1);
    expect(counts.filter((count) => count > 0)).toEqual([1]);
  });

  test('keeps nothing of a buffer that is used again', () => {
    const [head, rest] = [answer('x').slice(0, 20), answer('x').slice(20)];
    const buffer = Buffer.from(head);
    const reader = new ResponseReader();
    reader.push(buffer);
    buffer.fill(0);
    expect(reader.push(Buffer.from(rest))).toBe(1);
  });

  test.for([
    'HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
  ])('does not take %j for an answer', (head) => {
    expect(() => new ResponseReader().push(Buffer.from(head))).toThrow(/does not expect/);
  });

  test('does not wait for ever for the end of a head', () => {
    expect(() => new ResponseReader().push(Buffer.alloc(20_000, 'a'))).toThrow(/does not end/);
  });
});
