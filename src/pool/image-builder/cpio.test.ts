import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CpioEntry, cpioArchive } from './cpio.ts';

interface Member {
  name: string;
  inode: number;
  mode: number;
  links: number;
  timeSeconds: number;
  content: Buffer;
  device: string;
}

/** Reads an archive back as the kernel does (init/initramfs.c): every header and every content at a multiple of 4. */
function parse(archive: Buffer): Member[] {
  const members: Member[] = [];
  for (let offset = 0; ; ) {
    expect(offset % 4).toBe(0);
    expect(archive.toString('latin1', offset, offset + 6)).toBe('070701');
    const field = (index: number) => {
      const start = offset + 6 + index * 8;
      return Number.parseInt(archive.toString('latin1', start, start + 8), 16);
    };
    const fields = Array.from({ length: 13 }, (_, index) => field(index));
    const [inode = 0, mode = 0, , , links = 0, timeSeconds = 0, sizeBytes = 0] = fields;
    const [major, minor, nameBytes = 0] = fields.slice(9);
    const nameStart = offset + 110;
    const name = archive.toString('utf8', nameStart, nameStart + nameBytes - 1);
    expect(archive[nameStart + nameBytes - 1]).toBe(0);
    const contentStart = (nameStart + nameBytes + 3) & ~3;
    const content = archive.subarray(contentStart, contentStart + sizeBytes);
    offset = (contentStart + sizeBytes + 3) & ~3;
    if (name === 'TRAILER!!!') {
      expect(archive.subarray(offset).every((octet) => octet === 0)).toBe(true);
      return members;
    }
    members.push({ name, inode, mode, links, timeSeconds, content, device: `${major}:${minor}` });
  }
}

const archive = async (entries: readonly CpioEntry[]): Promise<Buffer> =>
  Buffer.concat(await Array.fromAsync(cpioArchive(entries)));

const file = (name: string, content: Uint8Array, mode = 0o644): CpioEntry => ({
  kind: 'file',
  name,
  mode,
  content,
});

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'orilla-cpio-'));
});
afterAll(() => rm(folder, { recursive: true }));

describe('cpioArchive', () => {
  test('a header has the fields that the kernel reads, in their places', async () => {
    const octets = await archive([file('a', Buffer.from('hello'), 0o755)]);
    const zero = '00000000';
    const fields = ['00000001', '000081ED', zero, zero, '00000001', zero, '00000005', zero, zero, zero, zero];
    const header = `070701${fields.join('')}00000002${zero}a\0`;
    expect(octets.toString('latin1', 0, 120)).toBe(`${header}hello\0\0\0`);
  });

  test('files, folders, links and devices come back as they went in', async () => {
    const members = parse(
      await archive([
        { kind: 'symlink', name: 'bin/sh', target: 'busybox' },
        { kind: 'directory', name: 'bin', mode: 0o1777 },
        { kind: 'character-device', name: 'console', mode: 0o600, major: 5, minor: 1 },
        file('bin/busybox', Buffer.from('#!'), 0o755),
      ]),
    );
    expect(members.map(({ name, mode }) => [name, mode.toString(8)])).toEqual([
      ['bin', '41777'],
      ['bin/busybox', '100755'],
      ['bin/sh', '120777'],
      ['console', '20600'],
    ]);
    expect(members[2]?.content.toString()).toBe('busybox');
    expect(members[3]?.device).toBe('5:1');
  });

  test('any names and contents come back, sorted, whatever order they were given in', async () => {
    const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 });
    const valid = name.filter((text) => !/^\.{1,2}$|[/\0]|^TRAILER!!!$/.test(text) && text.isWellFormed());
    const entry = fc.record({ name: valid, content: fc.uint8Array({ maxLength: 40 }) });
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(entry, { selector: (item) => item.name }), async (items) => {
        const entries = items.map((item) => file(item.name, item.content));
        const octets = await archive(entries);
        expect(octets.length % 512).toBe(0);
        expect(octets.equals(await archive(entries.toReversed()))).toBe(true);
        const members = parse(octets);
        const sorted = items.toSorted((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
        expect(members.map((member) => [member.name, [...member.content]])).toEqual(
          sorted.map((item) => [item.name, [...item.content]]),
        );
        expect(members.map((member) => member.inode)).toEqual(items.map((_, index) => index + 1));
        expect(members.every((member) => member.links === 1 && member.timeSeconds === 0)).toBe(true);
      }),
    );
  });

  test('two archives one after the other both begin where the kernel looks', async () => {
    const first = await archive([file('a', Buffer.from('1'))]);
    const both = Buffer.concat([first, await archive([file('b', Buffer.from('2'))])]);
    expect(both.toString('latin1', first.length, first.length + 6)).toBe('070701');
  });

  test('a file is read from the disk when its turn comes', async () => {
    const path = join(folder, 'large');
    await writeFile(path, Buffer.alloc(3_000_001, 7));
    const [member] = parse(
      await archive([{ kind: 'file', name: 'large', mode: 0o644, content: { path, sizeBytes: 3_000_001 } }]),
    );
    expect(member?.content.equals(Buffer.alloc(3_000_001, 7))).toBe(true);
  });

  test.each([5, 20])(
    'a file that is not as long as it was (10 octets, said to be %i) fails the archive',
    async (sizeBytes) => {
      const path = join(folder, 'changed');
      await writeFile(path, '0123456789');
      const entry: CpioEntry = { kind: 'file', name: 'changed', mode: 0o644, content: { path, sizeBytes } };
      await expect(archive([entry])).rejects.toMatchObject({ code: 'content_changed' });
    },
  );

  test.each(['', '/etc', 'a//b', '../up', 'a/./b', 'nul\0', `${'x/'.repeat(2100)}x`])(
    'refuses the name %j',
    async (name) => {
      await expect(archive([file(name, Buffer.alloc(0))])).rejects.toMatchObject({ code: 'archive_invalid' });
    },
  );

  test('refuses a name that is there twice', async () => {
    const twice = [file('a', Buffer.from('1')), file('a', Buffer.from('2'))];
    await expect(archive(twice)).rejects.toMatchObject({ code: 'archive_invalid' });
  });
});
