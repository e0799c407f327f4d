import { executable } from '../../src/pool/image-builder/resume-program.ts';

/**
 * A program for a guest (x86-64) that puts frames onto its card as they are, past the guest's own network (packet(7)). It
 * reads how often, 4 octets, and then frames, each behind its length, 2 octets; numbers are little-endian. Its card is that
 * with the index 2. Assembled by GNU as from:
 *
 *                sub rsp, 0x40000; mov r15, rsp; xor r14d, r14d                       r15 what is read, r14 its length
 *     read:      read(0, [r15+r14], 0x10000); jle opened; add r14, rax; cmp r14, 0x2ffff; jbe read
 *     opened:    socket(AF_PACKET, SOCK_RAW, 0); mov r13d, eax; js failed
 *                push 0; push 0; push 2 << 32 | AF_PACKET; mov r12d, [r15]             struct sockaddr_ll; how often
 *     again:     lea rbx, [r15+4]; lea rbp, [r15+r14]
 *     next:      lea rsi, [rbx+2]; cmp rsi, rbp; jae round; movzx edx, word [rbx]; lea rbx, [rsi+rdx]
 *                sendto(r13, rsi, rdx, 0, rsp, 20); jmp next
 *     round:     dec r12d; jnz again; exit(0)
 *     failed:    exit(1)
 */
const CODE =
  '4881ec000004004989e74531f6' +
  '31ff4b8d3437ba0000010031c00f0585c07e0c4901c64981feffff020076e1' +
  'bf11000000be0300000031d2b8290000000f054189c585c07853' +
  '31c05050b80200000048c1e0204883c81150458b27' +
  '498d5f044b8d2c37' +
  '488d73024839ee731f0fb713488d1c164489ef4531d24989e041b914000000b82c0000000f05ebd8' +
  '41ffcc75cb31ffb83c0000000f05bf01000000b83c0000000f05';

export const frameSender = (): Buffer => executable(Buffer.from(CODE, 'hex'));

/** What it reads fits into this. */
const INPUT_LIMIT_BYTES = 0x30000;

/** A shell script that sends these frames, one round after the other. */
export function sending(frames: readonly Buffer[], rounds = 1): string {
  const head = Buffer.alloc(4);
  head.writeUInt32LE(rounds);
  const input = Buffer.concat([head, ...frames.flatMap((frame) => [lengthOf(frame), frame])]);
  if (input.length > INPUT_LIMIT_BYTES) throw new Error('more frames than the sender takes');
  // Shells cannot hold a zero octet.
  return `base64 -d <<'END' | /bin/send-frames\n${input.toString('base64').replaceAll(/.{76}/g, '$&\n')}\nEND\n`;
}

function lengthOf(frame: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16LE(frame.length);
  return length;
}
