import { createSocket } from 'node:dgram';
import { describe, expect, test } from 'vitest';
import { ManualClock } from '../../../base/index.ts';
import { type Addresses, NameResolver, systemNames } from './name-resolver.ts';

describe('names', () => {
  test('are asked once, however many ask, and again when their time is over', async () => {
    const clock = new ManualClock();
    const asked: string[] = [];
    const resolver = new NameResolver(clock, async (name) => {
      asked.push(name);
      return { addresses: ['192.0.2.1'], lifetimeMs: 30_000 };
    });
    await Promise.all([resolver.resolve('a.example'), resolver.resolve('a.example')]);
    await clock.advance(29_999);
    expect(await resolver.resolve('a.example')).toEqual(['192.0.2.1']);
    expect(asked).toHaveLength(1);
    await clock.advance(1);
    await resolver.resolve('a.example');
    expect(asked).toHaveLength(2);
  });

  test('that live for no time are kept for a few seconds all the same, and those without an address too', async () => {
    const clock = new ManualClock();
    let count = 0;
    const resolver = new NameResolver(clock, async (name) => {
      count += 1;
      if (name === 'gone.example') throw new Error('ENOTFOUND');
      return { addresses: ['192.0.2.1'], lifetimeMs: 0 };
    });
    for (let i = 0; i < 3; i += 1) await resolver.resolve('a.example');
    for (let i = 0; i < 3; i += 1) {
      await expect(resolver.resolve('gone.example')).rejects.toMatchObject({ code: 'name_unresolved' });
    }
    expect(count).toBe(2);
    await clock.advance(5000);
    await resolver.resolve('a.example');
    await expect(resolver.resolve('gone.example')).rejects.toThrow();
    expect(count).toBe(4);
  });

  test('whose servers do not answer hold up a bounded number of askers', async () => {
    const silent = Promise.withResolvers<Addresses>();
    const resolver = new NameResolver(new ManualClock(), () => silent.promise);
    const waiting = Array.from({ length: 256 }, (_, i) => resolver.resolve(`${i}.example`));
    await expect(resolver.resolve('more.example')).rejects.toThrow(/too many names/);
    silent.resolve({ addresses: ['192.0.2.1'], lifetimeMs: 1000 });
    await Promise.all(waiting);
    expect(await resolver.resolve('more.example')).toEqual(['192.0.2.1']);
  });

  test('are asked from the name servers, for both families, with the time that the answers hold', async () => {
    const server = createSocket('udp4');
    server.on('message', (query, from) => server.send(answerTo(query), from.port, from.address));
    await new Promise<void>((resolve) => server.bind(0, '127.0.0.1', resolve));
    const ask = systemNames([`127.0.0.1:${server.address().port}`]);
    expect(await ask('a.example')).toEqual({ addresses: ['192.0.2.1', '2001:db8::1'], lifetimeMs: 60_000 });
    await expect(ask('gone.example')).rejects.toThrow();
    server.close();
  });
});

/** An answer with one record (RFC 1035 §4); none for `gone.example`. */
function answerTo(query: Buffer): Buffer {
  const question = query.subarray(12, query.indexOf(0, 12) + 5);
  const isGone = question.toString('latin1').includes('gone');
  const type = question.readUInt16BE(question.length - 4);
  const head = Buffer.from(query.subarray(0, 12));
  head.writeUInt16BE(isGone ? 0x8183 : 0x8180, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(isGone ? 0 : 1, 6);
  head.fill(0, 8);
  const address =
    type === 1 ? Buffer.from([192, 0, 2, 1]) : Buffer.from('20010db8000000000000000000000001', 'hex');
  const record = Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 60, 0, address.length]);
  return Buffer.concat([head, question, ...(isGone ? [] : [record, address])]);
}
