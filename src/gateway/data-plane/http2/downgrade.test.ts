import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DOWNGRADE_CASES, fieldsOf, SMUGGLED, SOUND } from '../../../../test/support/downgrade-cases.ts';
import { type HttpsSite, startHttpsSite } from '../../../../test/support/https-site.ts';
import {
  data,
  END_HEADERS,
  END_STREAM,
  type Field,
  fieldBlock,
  frame,
  headers,
  RawHttp2,
  TYPE,
} from '../../../../test/support/raw-http2.ts';
import { RecordingOrigin } from '../../../../test/support/recording-origin.ts';

describe('what HTTP/2 carries into HTTP/1.1', () => {
  let origin: RecordingOrigin;
  let site: HttpsSite;
  beforeAll(async () => {
    origin = await RecordingOrigin.start();
    site = await startHttpsSite({ port: origin.port });
  });
  afterAll(async () => {
    await site[Symbol.asyncDispose]();
    await origin[Symbol.asyncDispose]();
  });

  it.for(DOWNGRADE_CASES)('$name [gateway G3]', async (each) => {
    const { body, trailers, expected } = each;
    const before = origin.requests.length;
    const answers = site.exchanges.length;
    await using client = await RawHttp2.connect(site.port, 'photos.example');
    client.send(headers(1, fieldsOf(each), body === undefined ? END_STREAM : 0));
    if (body !== undefined) client.send(data(1, body, trailers ? 0 : END_STREAM));
    if (trailers) client.send(headers(1, trailers));
    const error = await client.outcome(1);
    // The connection, and what else goes over it, is none the worse.
    client.send(headers(3, SOUND));
    const isAlive = (await client.outcome(3)) === 0;

    const [seen, ...more] = origin.requests.slice(before, isAlive ? -1 : undefined);
    expect(isAlive).toBe(expected !== 'ended');
    expect(origin.faults).toEqual([]);
    expect(more).toEqual([]);
    if (typeof expected !== 'object') expect(seen).toBeUndefined();
    if (expected === 'reset' || expected === 'ended') expect(error).not.toBe(0);
    else if (typeof expected === 'number') {
      expect(error).toBe(0);
      expect(site.exchanges[answers]).toMatchObject({ servedBy: 'gateway', status: expected });
    } else {
      expect(seen).toBeDefined();
      const all = seen?.fields.map(([name, value]): Field => [name.toLowerCase(), value]) ?? [];
      const head = [[':method', seen?.method], [':path', seen?.target], ...all];
      for (const [name, value] of Object.entries(expected)) {
        const values = head.filter(([other]) => other === name).map((field) => field[1]);
        expect(values, name).toEqual(value === null ? [] : [value]);
      }
      expect(seen?.body ?? '').toBe(body ?? '');
    }
  });

  it('a Content-Length of 0 before a body: that is no part of it, and no other request', async () => {
    const before = origin.requests.length;
    await using client = await RawHttp2.connect(site.port, 'photos.example');
    client.send(headers(1, [...SOUND, ['content-length', '0']], 0), data(1, SMUGGLED, END_STREAM));
    await client.outcome(1);
    await using other = await RawHttp2.connect(site.port, 'photos.example');
    other.send(headers(1, SOUND));
    expect(await other.outcome(1)).toBe(0);
    expect(origin.requests.slice(before).every(({ target, body }) => target === '/' && body === '')).toBe(
      true,
    );
    expect(origin.faults).toEqual([]);
  });

  it('comes in pieces as it likes', async () => {
    const before = origin.requests.length;
    await using client = await RawHttp2.connect(site.port, 'photos.example');
    const block = fieldBlock([...SOUND, ['x', 'y']]);
    client.send(frame(TYPE.headers, END_STREAM, 1, block.subarray(0, 20)));
    client.send(frame(TYPE.continuation, 0, 1, block.subarray(20, 30)));
    client.send(frame(TYPE.continuation, END_HEADERS, 1, block.subarray(30)));
    expect(await client.outcome(1)).toBe(0);
    expect(origin.requests[before]?.fields).toContainEqual(['x', 'y']);
  });
});
