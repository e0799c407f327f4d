import { Readable } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { systemRandom } from '../../base/index.ts';
import { MasterKey } from './master-key.ts';
import { seal, unseal } from './sealed-stream.ts';

const KEY = new MasterKey(Buffer.alloc(32, 1));
const RECORD = 2 ** 20;
const SEALED_RECORD = RECORD + 16;
const HEADER = 44;

const streamOf = (chunks: readonly Uint8Array[]) => Readable.from(chunks);
async function gather(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}
const sealed = (plain: readonly Uint8Array[], purpose = 'test', key = KEY) =>
  gather(seal(streamOf(plain), key, purpose, systemRandom));
const unsealed = (chunks: readonly Uint8Array[], purpose = 'test', key = KEY) =>
  gather(unseal(streamOf(chunks), key, purpose));
const refused = async (octets: Uint8Array, purpose?: string, key?: MasterKey) =>
  expect(unsealed([octets], purpose, key)).rejects.toMatchObject({ code: 'sealed_data_damaged' });

/** Cut at these places. */
function pieces(octets: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [0, ...cuts.filter((at) => at <= octets.length), octets.length].sort((a, b) => a - b);
  return places.slice(1).map((end, index) => octets.subarray(places[index], end));
}

describe('a sealed stream', () => {
  test('gives back what was sealed, at every split of a short one', async () => {
    const plain = Buffer.from('memory of a guest');
    const octets = await sealed([plain]);
    expect(octets).toHaveLength(HEADER + plain.length + 16);
    for (let at = 0; at <= octets.length; at += 1) {
      expect(await unsealed(pieces(octets, [at]))).toEqual(plain);
    }
    for (let at = 0; at <= plain.length; at += 1) {
      expect(await unsealed([await sealed(pieces(plain, [at]))])).toEqual(plain);
    }
    expect(await unsealed(Array.from(octets, (octet) => Uint8Array.of(octet)))).toEqual(plain);
  });

  test('gives back what was sealed, at lengths around those of a record and whatever the splits', async () => {
    const around = [0, 1, RECORD - 1, RECORD, RECORD + 1, 2 * RECORD, 2 * RECORD + 5];
    const cuts = fc.array(fc.nat(2 * SEALED_RECORD), { maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...around), cuts, cuts, async (length, before, after) => {
        const plain = Buffer.alloc(length, 'orilla ');
        const octets = await sealed(pieces(plain, before));
        const records = Math.max(1, Math.ceil(length / RECORD));
        expect(octets).toHaveLength(HEADER + length + records * 16);
        expect((await unsealed(pieces(octets, after))).equals(plain)).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  test('shows nothing of what is in it, and never looks the same twice', async () => {
    const plain = Buffer.alloc(RECORD + 1000, 'secret');
    const [one, two] = [await sealed([plain]), await sealed([plain])];
    expect(one.includes('secret')).toBe(false);
    expect(one.subarray(HEADER, HEADER + 100)).not.toEqual(two.subarray(HEADER, HEADER + 100));
  });

  test('is refused with any octet changed', async () => {
    const octets = await sealed([Buffer.from('memory of a guest')]);
    for (let at = 0; at < octets.length; at += 1) {
      const changed = Buffer.from(octets);
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
      await refused(changed);
    }
  });

  test('is refused when it ends early, wherever that is', async () => {
    const short = await sealed([Buffer.from('memory of a guest')]);
    for (let length = 0; length < short.length; length += 1) await refused(short.subarray(0, length));
    // Also where a record ends.
    const long = await sealed([Buffer.alloc(2 * RECORD + 5)]);
    for (const length of [HEADER, HEADER + SEALED_RECORD, HEADER + 2 * SEALED_RECORD, long.length - 1]) {
      await refused(long.subarray(0, length));
    }
  });

  test('is refused with records left out, twice, in another order, from another stream, or behind the end', async () => {
    const octets = await sealed([Buffer.alloc(3 * RECORD)]);
    const other = await sealed([Buffer.alloc(3 * RECORD)]);
    const header = octets.subarray(0, HEADER);
    const [first, second, third] = [0, 1, 2].map((number) =>
      octets.subarray(HEADER + number * SEALED_RECORD, HEADER + (number + 1) * SEALED_RECORD),
    ) as [Buffer, Buffer, Buffer];
    expect(await unsealed([header, first, second, third])).toHaveLength(3 * RECORD);
    for (const records of [
      [second, third],
      [first, third],
      [first, first, second, third],
      [second, first, third],
      [first, second, other.subarray(HEADER + 2 * SEALED_RECORD)],
      [first, second, third, third],
      [first, second, third, Buffer.alloc(1)],
      [third],
    ]) {
      await refused(Buffer.concat([header, ...records]));
    }
    await refused(Buffer.concat([other.subarray(0, HEADER), first, second, third]));
  });

  test('is refused with another master key, and for another purpose', async () => {
    const octets = await sealed([Buffer.from('memory of a guest')]);
    await refused(octets, 'test', new MasterKey(Buffer.alloc(32, 2)));
    await refused(octets, 'other');
  });

  test('takes no more of its source than somebody wants', async () => {
    let taken = 0;
    async function* endless() {
      for (;;) {
        taken += 1;
        yield Buffer.alloc(RECORD);
      }
    }
    const sealing = seal(endless(), KEY, 'test', systemRandom);
    for (let record = 0; record < 3; record += 1) await sealing.next();
    expect(taken).toBeLessThanOrEqual(4);
    await sealing.return(undefined);
  });
});
