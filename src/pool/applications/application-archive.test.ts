import { createHash } from 'node:crypto';
import { chmod, mkdir, open, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { temporaryFolder } from '../../../test/support/temporary-folder.ts';
import { runCommand } from '../../platform/process/index.ts';
import { packApplication, readApplicationArchive } from './application-archive.ts';
import { isPlainName, parseTarHeader, type TarMember, tarHeader } from './tar-header.ts';

const MANIFEST = { format: 'orilla.application/1', name: 'notes', version: '1.0', static: 'public' };
const END = Buffer.alloc(1024);

let folder: string;
beforeEach(async () => {
  folder = await temporaryFolder();
});

async function read(archive: Uint8Array) {
  const path = join(folder, 'archive.tar');
  await writeFile(path, archive);
  await using file = await open(path);
  return await readApplicationArchive(file);
}

/** A member as a header with a right checksum, whatever is in it. */
function member(change: (block: Buffer) => void, content: Buffer = Buffer.alloc(0)): Buffer {
  const block = tarHeader({ name: 'x', kind: 'file', sizeBytes: content.length, isExecutable: false });
  change(block);
  block.write('        ', 148, 'latin1');
  const sum = block.reduce((total, octet) => total + octet, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return Buffer.concat([block, content, Buffer.alloc(-content.length & 511)]);
}
const named = (name: string, content?: Buffer) =>
  member((block) => {
    block.fill(0, 0, 100);
    block.write(name, 0);
  }, content);
const manifest = (value: object = MANIFEST) => named('application.json', Buffer.from(JSON.stringify(value)));
const typed = (type: string) => member((block) => void block.write(type, 156, 'latin1'));

describe('the archive of an application', () => {
  async function writeSource(): Promise<string> {
    const source = join(folder, 'source');
    await mkdir(join(source, 'public', 'a'.repeat(98)), { recursive: true });
    await writeFile(join(source, 'application.json'), JSON.stringify(MANIFEST));
    await writeFile(join(source, 'public', 'index.html'), 'hello');
    await writeFile(join(source, 'public', 'a'.repeat(98), 'ñ.txt'), 'x'.repeat(1000));
    await writeFile(join(source, 'Begin'), 'sorts before the manifest');
    return source;
  }

  test('packed from a folder can be read here, and by any tar', async () => {
    const { archive, manifest: own } = await packApplication(await writeSource());
    expect(await read(archive)).toEqual({ ...MANIFEST, env: {}, stopLimitS: 5 });
    expect(own).toEqual(await read(archive));
    const { stdout } = await runCommand('tar', ['--list', '--file', join(folder, 'archive.tar')], {});
    expect(stdout.split('\n')[0]).toBe('application.json');
    expect(stdout).toContain('public/index.html');
  });

  test('is the same for the same files, whatever their times', async () => {
    const source = await writeSource();
    const digest = async () =>
      createHash('sha256')
        .update((await packApplication(source)).archive)
        .digest('hex');
    const before = await digest();
    await utimes(join(source, 'Begin'), 1, 1);
    await chmod(join(source, 'Begin'), 0o600);
    expect(await digest()).toBe(before);
    await chmod(join(source, 'Begin'), 0o700);
    expect(await digest()).not.toBe(before);
  });

  test('takes no link, and no folder without a manifest', async () => {
    const source = await writeSource();
    await symlink('/bin', join(source, 'link'));
    await expect(packApplication(source)).rejects.toMatchObject({ code: 'content_invalid' });
    await expect(packApplication(folder)).rejects.toMatchObject({ code: 'application_invalid' });
  });

  test('made by tar itself is taken too', async () => {
    const source = await writeSource();
    const path = join(folder, 'own.tar');
    const tar = ['--format=ustar', '--create', '--file', path, '--directory', source];
    await runCommand('tar', [...tar, 'application.json', 'public'], {});
    await using file = await open(path);
    expect(await readApplicationArchive(file)).toMatchObject({ name: 'notes' });
  });

  test.for([
    ['nothing', []],
    ['only an end', [END]],
    ['no manifest first', [named('server'), manifest(), END]],
    ['no end', [manifest(), named('public/a')]],
    ['something after its end', [manifest(), named('public/a'), END, Buffer.from('more')]],
    ['a member that is cut', [manifest(), named('public/a', Buffer.alloc(700)).subarray(0, 600)]],
    ['a way up', [manifest(), named('public/../../bin/sh'), END]],
    ['a way up alone', [manifest(), named('..'), END]],
    ['an absolute name', [manifest(), named('/bin/sh'), END]],
    ['an empty part', [manifest(), named('public//a'), END]],
    ['a name with a control character', [manifest(), named('public/a\u001b[2J'), END]],
    ['a name that is not UTF-8', [manifest(), member((block) => void block.writeUInt8(0xff, 0)), END]],
    ['a name twice', [manifest(), named('public/a'), named('./public/a'), END]],
    ['a file below a file', [manifest(), named('public'), named('public/a'), END]],
    ['a hard link', [manifest(), typed('1'), END]],
    ['a symbolic link', [manifest(), typed('2'), END]],
    ['a character device', [manifest(), typed('3'), END]],
    ['a block device', [manifest(), typed('4'), END]],
    ['a pipe', [manifest(), typed('6'), END]],
    ['a pax header', [manifest(), typed('x'), END]],
    ['a global pax header', [manifest(), typed('g'), END]],
    ['a long name of GNU', [manifest(), typed('L'), END]],
    ['a sparse file of GNU', [manifest(), typed('S'), END]],
    ['another format', [manifest(), member((block) => void block.write('ustar  \0', 257, 'latin1')), END]],
    [
      'a size that is no number',
      [manifest(), member((block) => void block.write('-0000000001', 124, 'latin1')), END],
    ],
    ['a size in base 256', [manifest(), member((block) => void block.writeUInt8(0x80, 124)), END]],
    [
      'a size beyond its end',
      [manifest(), member((block) => void block.write('77777777777', 124, 'latin1')), END],
    ],
    ['a manifest that is too long', [named('application.json', Buffer.alloc(70_000, ' ')), END]],
    ['a manifest that is no JSON', [named('application.json', Buffer.from('{')), END]],
    ['a folder to serve that is not there', [manifest(), named('other/a'), END]],
  ] as const)('with %s is refused', async ([, parts]) => {
    await expect(read(Buffer.concat(parts))).rejects.toMatchObject({ code: 'application_invalid' });
  });

  test('of more than ten thousand files is refused', async () => {
    const files = Array.from({ length: 10_001 }, (_, index) => named(`public/${index}`));
    await expect(read(Buffer.concat([manifest(), ...files, END]))).rejects.toThrow('more than 10000');
  });

  test.for([
    ['neither program nor folder', { static: undefined }],
    ['both', { run: ['./a'] }],
    ['an unknown key', { user: 'root' }],
    ['a program with "="', { static: undefined, run: ['A=b'] }],
    ['no program', { static: undefined, run: [''] }],
    ['a NUL', { static: undefined, run: ['a', 'b\0'] }],
    ['a variable that is none', { env: { 'A B': 'c' } }],
    ['a folder above', { static: '../www' }],
    ['a name that is no label', { name: '../notes' }],
    ['a version with a space', { version: '1 2' }],
    ['a stop limit that has no end', { stopLimitS: 1e9 }],
  ] as const)('whose manifest has %s is refused', async ([, change]) => {
    const parts = [manifest({ ...MANIFEST, ...change }), named('public/a'), END];
    await expect(read(Buffer.concat(parts))).rejects.toMatchObject({ code: 'application_invalid' });
  });

  test('any plain name and size comes back from a header', () => {
    const names = fc.array(fc.string({ minLength: 1, maxLength: 30, unit: 'grapheme' }), {
      minLength: 1,
      maxLength: 4,
    });
    fc.assert(
      fc.property(names, fc.nat(2 ** 30), fc.boolean(), (parts, sizeBytes, isExecutable) => {
        const name = parts.map((part) => part.replaceAll('/', '_')).join('/');
        fc.pre(isPlainName(name) && Buffer.byteLength(name) <= 100 && Buffer.from(name).toString() === name);
        const whole: TarMember = { name, kind: 'file', sizeBytes, isExecutable };
        expect(parseTarHeader(tarHeader(whole))).toEqual(whole);
      }),
    );
  });
});
