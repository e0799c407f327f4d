/**
 * The program with which a guest waits to be cloned: `bin/orilla-resume`, called by `guest/web/agent`. In each clone it is the
 * first that runs, with nothing translated yet under emulation: where a shell and its commands take 0.1 s, a few system
 * calls take none. Only one of them no busybox command could do: to make the kernel's random generator begin anew; clones
 * would draw the same numbers otherwise, for up to a minute. So here are these calls and nothing else, as an ELF file of one
 * segment (System V ABI; elf(5)), for x86-64.
 *
 * Descriptors: 3 the host's port, 4 the random device, 5 the file of the generation. What it reads:
 *
 *     offset  size
 *          0    16   time since 1970: seconds, nanoseconds (struct timespec)
 *         16    32   random
 *         48    17   generation: an id that no other clone has, and a newline
 *         72     8   length of the name
 *         80    64   name
 *
 * Numbers are little-endian. The other end is `src/pool/hypervisor/qemu/guest-agent.ts`.
 * @module
 */

export const RESUME_MESSAGE_BYTES = 144;

/** A number; or the address, or the 8 octets, at a place in the message. */
type Argument = number | { readonly addressOf: number } | { readonly valueAt: number };

// Linux, arch/x86/entry/syscalls/syscall_64.tbl
const CALLS = {
  read: 0,
  write: 1,
  lseek: 8,
  ioctl: 16,
  exit: 60,
  kill: 62,
  sethostname: 170,
  clock_settime: 227,
} as const;
const CLOCK_REALTIME = 0;
/** Linux, include/uapi/linux/random.h: _IO('R', 7) */
const RNDRESEEDCRNG = 0x5207;
const SIGCONT = 18;
const SIGSTOP = 19;
/** All processes but the first and itself (kill(2)). */
const EVERYBODY = 0xffff_ffff;

const PAUSE = Buffer.from('pause\n');
const PAUSED = Buffer.from('paused\n');
const RESUMED = Buffer.from('resumed\n');

const HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const CODE_OFFSET = HEADER_BYTES + PROGRAM_HEADER_BYTES;
const LOAD_ADDRESS = 0x40_0000;

export function resumeProgram(): Buffer {
  // An address has the same length, whatever it is.
  const textAddress = LOAD_ADDRESS + CODE_OFFSET + codeWith(0).length;
  return executable(Buffer.concat([codeWith(textAddress), PAUSED, RESUMED]));
}

/** @param textAddress of the two lines that it says. */
const codeWith = (textAddress: number): Buffer =>
  Buffer.concat([
    roomForMessage(),
    again(
      call('write', 3, textAddress, PAUSED.length),
      call('read', 3, { addressOf: 0 }, RESUME_MESSAGE_BYTES),
      unlessResultIs(RESUME_MESSAGE_BYTES, call('exit', 1)),
      call('clock_settime', CLOCK_REALTIME, { addressOf: 0 }),
      // Mixed into the kernel's pool; its generator takes from there only when it is told to.
      call('write', 4, { addressOf: 16 }, 32),
      call('ioctl', 4, RNDRESEEDCRNG, 0),
      // In the place of the one before.
      call('lseek', 5, 0, 0),
      call('write', 5, { addressOf: 48 }, 17),
      call('sethostname', { addressOf: 80 }, { valueAt: 72 }),
      call('kill', EVERYBODY, SIGCONT),
      call('write', 3, textAddress + PAUSED.length, RESUMED.length),
      // Until the host hangs up, or wants the guest to come to rest once more.
      call('read', 3, { addressOf: 0 }, RESUME_MESSAGE_BYTES),
      unlessResultIs(PAUSE.length, call('exit', 0)),
      call('kill', EVERYBODY, SIGSTOP),
    ),
  ]);

/** sub rsp, 256 */
const roomForMessage = (): Buffer => Buffer.from('4881ec00010000', 'hex');

/** mov eax, number; syscall; before that the arguments, in rdi, rsi, rdx. */
const call = (name: keyof typeof CALLS, ...args: readonly Argument[]): Buffer =>
  Buffer.concat([
    ...args.map((argument, index) => load(REGISTERS[index], argument)),
    withNumber('b8', CALLS[name]),
    Buffer.from('0f05', 'hex'),
  ]);

/** For rdi, rsi, rdx: mov r32, number · lea r64, [rsp + number] · mov r64, [rsp + number] */
const REGISTERS = [
  { number: 'bf', addressOf: '488dbc24', valueAt: '488bbc24' },
  { number: 'be', addressOf: '488db424', valueAt: '488bb424' },
  { number: 'ba', addressOf: '488d9424', valueAt: '488b9424' },
] as const;

function load(register: (typeof REGISTERS)[number] | undefined, argument: Argument): Buffer {
  if (!register) throw new Error('a system call of more than three arguments');
  if (typeof argument === 'number') return withNumber(register.number, argument);
  return 'addressOf' in argument
    ? withNumber(register.addressOf, argument.addressOf)
    : withNumber(register.valueAt, argument.valueAt);
}

/** All of it without an end: jmp back to where it begins. */
function again(...steps: readonly Buffer[]): Buffer {
  const body = Buffer.concat(steps);
  const jump = Buffer.alloc(5);
  jump.writeUInt8(0xe9);
  jump.writeInt32LE(-(body.length + jump.length), 1);
  return Buffer.concat([body, jump]);
}

/** cmp eax, number; je past what is done otherwise */
const unlessResultIs = (number: number, otherwise: Buffer): Buffer =>
  Buffer.concat([withNumber('3d', number), Buffer.from([0x74, otherwise.length]), otherwise]);

function withNumber(operation: string, number: number): Buffer {
  const encoded = Buffer.alloc(4);
  encoded.writeUInt32LE(number);
  return Buffer.concat([Buffer.from(operation, 'hex'), encoded]);
}

/** An ELF file of one segment, which runs `code`. */
export function executable(code: Buffer): Buffer {
  const sizeBytes = CODE_OFFSET + code.length;
  const file = Buffer.alloc(CODE_OFFSET);
  // 64 bits, little-endian, version 1, System V.
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  file.writeUInt16LE(2, 16); // an executable
  file.writeUInt16LE(62, 18); // x86-64
  file.writeUInt32LE(1, 20);
  file.writeBigUInt64LE(BigInt(LOAD_ADDRESS + CODE_OFFSET), 24); // where it begins
  file.writeBigUInt64LE(BigInt(HEADER_BYTES), 32);
  file.writeUInt16LE(HEADER_BYTES, 52);
  file.writeUInt16LE(PROGRAM_HEADER_BYTES, 54);
  file.writeUInt16LE(1, 56); // program headers
  const segment = HEADER_BYTES;
  file.writeUInt32LE(1, segment); // to be loaded
  file.writeUInt32LE(5, segment + 4); // readable, executable
  file.writeBigUInt64LE(BigInt(LOAD_ADDRESS), segment + 16);
  file.writeBigUInt64LE(BigInt(LOAD_ADDRESS), segment + 24);
  file.writeBigUInt64LE(BigInt(sizeBytes), segment + 32);
  file.writeBigUInt64LE(BigInt(sizeBytes), segment + 40);
  file.writeBigUInt64LE(0x1000n, segment + 48); // aligned to a page
  return Buffer.concat([file, code]);
}
