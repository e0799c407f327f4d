import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';

/** The files of one machine in its run directory. Short names: a Unix socket's path has at most 107 octets. */
export const RUN_FILES = {
  monitor: 'qmp',
  /** The socket to the agent in the guest. */
  agent: 'agt',
  /** The socket to QEMU's guest agent in the guest. */
  commands: 'qga',
  /** There when somebody of ours has spoken to that one. */
  asked: 'asked',
  /** The socket by which a machine's state leaves it, or comes to it. */
  state: 'mig',
  console: 'console.log',
  errors: 'qemu.log',
  /** What another process has to know to take the machine over; ours, and never QEMU's to change. */
  record: 'machine.json',
} as const;

/** What `readTail` gives at most. */
export const TAIL_BYTES = 64 * 1024;
/** A file to which a guest or QEMU writes without an end is cut when it is found longer than this. */
const LENGTH_LIMIT_BYTES = 2 ** 20;

/** For writing at the end only: who truncates the file in the meantime leaves no hole. */
export const openLog = (path: string): Promise<FileHandle> => open(path, 'a', 0o600);

/** The end of a file; empty when there is none. */
export async function readTail(path: string): Promise<string> {
  const handle = await openRegular(path, constants.O_RDONLY);
  if (!handle) return '';
  try {
    return (await tailOf(handle)).toString('utf8');
  } finally {
    await handle.close();
  }
}

/** The last lines of what a machine's QEMU, or what was to start it, had to complain about. */
export async function lastWordsIn(directory: string): Promise<string> {
  const lines = (await readTail(join(directory, RUN_FILES.errors))).trim().split('\n');
  return lines.slice(-3).join(' ').slice(0, 500);
}

/** Cuts a log that has grown too long to its end. */
export async function keepShort(path: string): Promise<void> {
  const handle = await openRegular(path, constants.O_RDWR);
  if (!handle) return;
  try {
    if ((await handle.stat()).size <= LENGTH_LIMIT_BYTES) return;
    const tail = await tailOf(handle);
    await handle.truncate(0);
    await handle.write(tail, 0, tail.length, 0);
  } finally {
    await handle.close();
  }
}

/** Never through a symbolic link, nor waiting for a pipe's other end: QEMU may write to the folder. */
async function openRegular(path: string, access: number): Promise<FileHandle | undefined> {
  const handle = await open(path, access | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    () => undefined,
  );
  if (!handle || (await handle.stat()).isFile()) return handle;
  await handle.close();
  return undefined;
}

async function tailOf(handle: FileHandle): Promise<Buffer> {
  const { size } = await handle.stat();
  const length = Math.min(size, TAIL_BYTES);
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, size - length);
  return buffer.subarray(0, bytesRead);
}
