import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { qcow2Fault } from './qcow2-header.ts';

const SIZE = 10 * 2 ** 20;

interface Change {
  readonly at: number;
  readonly value: number | bigint;
}

/** A sound header of version 3 with `extensions`, as `qemu-img create` writes it, and changes to it. */
function header(changes: readonly Change[] = [], extensions: readonly [type: number, text: string][] = []) {
  const octets = Buffer.alloc(1024);
  octets.writeUInt32BE(0x51_46_49_fb, 0);
  octets.writeUInt32BE(3, 4);
  octets.writeUInt32BE(16, 20);
  octets.writeBigUInt64BE(BigInt(SIZE), 24);
  octets.writeUInt32BE(1, 36);
  octets.writeUInt32BE(112, 100);
  let at = 112;
  for (const [type, text] of extensions) {
    octets.writeUInt32BE(type, at);
    octets.writeUInt32BE(text.length, at + 4);
    octets.write(text, at + 8);
    at += 8 + Math.ceil(text.length / 8) * 8;
  }
  for (const { at: place, value } of changes) {
    if (typeof value === 'bigint') octets.writeBigUInt64BE(value, place);
    else octets.writeUInt32BE(value, place);
  }
  return octets;
}

const FEATURE_NAMES: [number, string] = [0x68_03_f8_57, 'x'.repeat(17)];

describe('the header of a qcow2 disk', () => {
  test('that stands on its own is sound, whichever of the harmless features it has', () => {
    expect(qcow2Fault(header(), SIZE)).toBeUndefined();
    expect(qcow2Fault(header([], [FEATURE_NAMES, FEATURE_NAMES]), SIZE)).toBeUndefined();
    expect(qcow2Fault(header([{ at: 72, value: 0b1_1000n }]), SIZE)).toBeUndefined();
    const version2 = header([
      { at: 4, value: 2 },
      { at: 72, value: 0n },
    ]);
    expect(qcow2Fault(version2, SIZE)).toBeUndefined();
  });

  test.for([
    ['no magic', { at: 0, value: 0 }, 'is not qcow2'],
    ['another version', { at: 4, value: 1 }, 'version 1; expected 2 or 3'],
    ['a backing file', { at: 8, value: 512n }, 'has a backing file'],
    ['encryption', { at: 32, value: 2 }, 'has encryption'],
    ['another size', { at: 24, value: 2n ** 60n }, 'virtual size of 1152921504606846976 octets'],
    ['no clusters', { at: 20, value: 0 }, 'clusters of 2^0'],
    ['giant clusters', { at: 20, value: 60 }, 'clusters of 2^60'],
    ['a giant table', { at: 36, value: 0xff_ff_ff_ff }, 'table that is too large'],
    ['its data elsewhere', { at: 72, value: 0b100n }, 'has its data in another file'],
    ['the mark of a crash', { at: 72, value: 0b1n }, 'features that are not allowed: 0x1'],
    ['the mark of damage', { at: 72, value: 0b10n }, 'features that are not allowed: 0x2'],
    ['features of the future', { at: 72, value: 1n << 63n }, 'not allowed: 0x8000000000000000'],
    ['no length', { at: 100, value: 0 }, 'a header of 0 octets'],
    ['a length of no end', { at: 100, value: 0xff_ff_ff_f8 }, 'a header without end'],
  ] as const)('with %s is refused', ([, change, fault]) => {
    expect(qcow2Fault(header([change]), SIZE)).toContain(fault);
  });

  test.for([
    [0xe2_79_2a_ca, 'a backing file'],
    [0x44_41_54_41, 'its data in another file'],
    [0x05_37_be_77, 'encryption'],
  ] as const)('with the extension %d has %s', ([type, fault]) => {
    expect(qcow2Fault(header([], [FEATURE_NAMES, [type, 'json:{}']]), SIZE)).toBe(`has ${fault}`);
  });

  test('is refused or sound, never a fault of ours, whatever it holds and wherever it ends', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(300), fc.nat(1024), (noise, place, length) => {
        const octets = header();
        octets.set(noise, place);
        qcow2Fault(octets.subarray(0, length), SIZE);
      }),
    );
  });
});
