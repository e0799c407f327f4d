import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { confinedCommand, LINK_TAKEN_STATUS } from '../../src/pool/hypervisor/qemu/confinement.ts';
import { confinementSupport } from '../../src/pool/hypervisor/qemu/confinement-support.ts';
import { linksFor } from '../../src/pool/hypervisor/qemu/machine-link.ts';
import type { Machine } from '../../src/pool/index.ts';
import { RootedGuests } from '../support/rooted-guests.ts';
import { inCi, needs } from '../support/tools.ts';

const support = await confinementSupport();

/** Says of each attempt that succeeded what it was; `own` has to. */
const ATTEMPTS = `
const fs = require('node:fs'), net = require('node:net'), { spawnSync } = require('node:child_process');
const { folders, files, sockets, targets, pids } = JSON.parse(process.argv[1]);
const attempt = (what, act) => { try { if (act() !== false) console.log(what); } catch {} };
const runs = (...argv) => () => spawnSync(argv[0], argv.slice(1), { timeout: 5000 }).status === 0;
attempt('own folder', () => { fs.writeFileSync('x', ''); fs.readdirSync('.'); });
attempt('own process', () => process.kill(process.pid, 0));
for (const file of files) {
  attempt('reads ' + file, () => fs.readFileSync(file));
  attempt('writes ' + file, () => fs.appendFileSync(file, 'x'));
}
for (const folder of folders) {
  attempt('lists ' + folder, () => fs.readdirSync(folder));
  attempt('makes a file in ' + folder, () => fs.writeFileSync(folder + '/y', ''));
  attempt('removes ' + folder, () => fs.renameSync(folder, folder + '.gone'));
}
const others = fs.readdirSync('/proc').filter((name) => Number(name) > 0 && Number(name) !== process.pid);
if (others.length > 0) console.log('sees the processes ' + others);
for (const pid of pids) {
  for (const file of ['cmdline', 'environ', 'mem', 'maps', 'cwd/qmp', 'root/etc']) attempt(file + ' of ' + pid, () => fs.openSync('/proc/' + pid + '/' + file, 'r'));
  for (const kind of ['net', 'mnt', 'pid', 'user']) attempt('enters ' + kind + ' of ' + pid, runs('nsenter', '--' + kind + '=/proc/' + pid + '/ns/' + kind, 'true'));
  attempt('signals ' + pid, () => process.kill(pid, 0));
  attempt('ends ' + pid, () => process.kill(pid, 'SIGKILL'));
}
for (const argv of [
  ['mount', '-t', 'tmpfs', 'x', '/mnt'], ['mount', '--bind', '.', '/mnt'], ['umount', '/proc'], ['umount', '/dev/net'],
  ['mount', '-o', 'remount,hidepid=0', '/proc'], ['chroot', '.', 'true'], ['mknod', 'disk', 'b', '8', '0'],
  ['unshare', '--net', 'true'], ['unshare', '--mount', 'true'], ['unshare', '--ipc', 'true'], ['unshare', '--uts', 'true'],
  ['nft', 'flush', 'ruleset'], ['nft', 'list', 'ruleset'], ['ip', 'link', 'set', 'eth0', 'down'], ['ip', 'address', 'add', '192.0.2.1/32', 'dev', 'eth0'],
  ['ip', 'tuntap', 'add', 'dev', 'tap9', 'mode', 'tap'], ['hostname', 'taken'], ['prlimit', '--nproc=unlimited', 'true'],
]) attempt(argv.join(' '), runs(...argv));
// The one file that is everybody's to open takes what is written from the privileged only (pid_namespaces(7)).
const writable = (folder) => spawnSync('find', [folder, '-xdev', '-writable', '-type', 'f', '-not', '-name', 'ns_last_pid'], { encoding: 'utf8' }).stdout.trim();
for (const folder of ['/sys', '/sys/fs/cgroup', '/proc/sys']) attempt('writes below ' + folder + ': ' + writable(folder), () => writable(folder) !== '');
// With a user namespace, where the kernel gives one to everybody, it is root over nothing.
for (const file of files) attempt('reads as its own root ' + file, runs('unshare', '--user', '--map-root-user', '--mount', 'cat', file));
attempt('joins the host as its own root', runs('unshare', '--user', '--map-root-user', 'nsenter', '--net=/proc/' + pids[0] + '/ns/net', 'true'));
net.createServer().listen('own.sock').unref();
for (const options of [{ path: 'own.sock' }, ...sockets.map((path) => ({ path })), ...targets]) {
  net.connect(options).on('connect', () => console.log('reaches ' + JSON.stringify(options))).on('error', () => {});
}
for (const { host, port, udp } of targets) {
  const socket = require('node:dgram').createSocket(host.includes(':') ? 'udp6' : 'udp4').on('error', () => {});
  try { socket.send('x', udp ?? port, host); } catch {}
}
setTimeout(() => process.exit(), 1500);
`;

describe.skipIf(!support.isConfined && !inCi)('confined machines', () => {
  needs('qemu-system-x86_64')('whose QEMU was taken over', () => {
    let guests: RootedGuests;
    let neighbour: Machine;
    let folder: string;
    const servers: Server[] = [];
    const visitors: string[] = [];

    beforeAll(async () => {
      guests = await RootedGuests.make();
      neighbour = await guests.start('neighbour');
      folder = mkdtempSync(join(tmpdir(), 'o-'));
      // As open as it could be: what stands in the way is not the data folder's own mode.
      for (const each of [folder, dirname(guests.runFolder), guests.runFolder]) chmodSync(each, 0o755);
    });
    afterAll(async () => {
      for (const server of servers) server.close();
      rmSync(folder, { recursive: true, force: true });
      await guests.close();
    });

    async function listen(options: { port: number; host: string } | { path: string }): Promise<number> {
      const server = createServer((visitor) => {
        visitors.push(JSON.stringify(options));
        visitor.on('error', () => undefined).end();
      });
      servers.push(server.listen(options));
      await once(server, 'listening');
      return 'port' in options ? (server.address() as { port: number }).port : 0;
    }

    /** Runs the attempts in QEMU's place; they have the seccomp filter of QEMU to get past beside. */
    async function attempt(what: object): Promise<string> {
      for (const link of linksFor(`taken over ${process.pid}`, 16)) {
        const directory = join(folder, 'own');
        mkdirSync(directory, { recursive: true });
        chownSync(directory, 0, link.userId);
        chmodSync(directory, 0o1770);
        const confinement = { link, port: 80, hostPid: process.pid, needsKvm: false };
        const command = [process.execPath, '-e', ATTEMPTS, JSON.stringify(what)];
        const [program, args] = confinedCommand(confinement, command);
        const child = spawn(program, args, { cwd: directory, stdio: ['ignore', 'pipe', 'inherit'] });
        let said = '';
        child.stdout.setEncoding('utf8').on('data', (text: string) => {
          said += text;
        });
        const [status] = (await once(child, 'close')) as [number | null];
        if (status !== LINK_TAKEN_STATUS) return said;
      }
      throw new Error('no link is free');
    }

    test('reach no file, process, namespace, limit or socket but their own', async () => {
      const secret = join(folder, 'token');
      writeFileSync(secret, 'secret', { mode: 0o600 });
      const run = join(guests.runFolder, 'neighbour');
      const port = await listen({ port: 0, host: '::' });
      await listen({ path: `\0orilla-test-${process.pid}` });
      const control = join(folder, 'control.sock');
      await listen({ path: control });
      chmodSync(control, 0o600);
      const datagrams = createSocket('udp6', (message) => visitors.push(message.toString()));
      await new Promise<void>((resolve) => datagrams.bind(0, '::', resolve));
      const udp = datagrams.address().port;
      const addresses = Object.entries(networkInterfaces()).flatMap(([name, all = []]) =>
        all.map(({ address, family }) => (family === 'IPv6' ? `${address}%${name}` : address)),
      );
      const targets = [
        ...[...addresses, '127.0.0.1', '::1', '10.0.2.2', '10.0.2.15'].map((host) => ({ host, port, udp })),
        { host: neighbour.addresses[0].host, port: 80 },
        { host: '169.254.169.254', port: 80 },
        { host: 'fd00:ec2::254', port: 80 },
        { host: '192.0.2.1', port: 80 },
      ];
      const said = await attempt({
        folders: [run],
        files: [
          secret,
          ...['machine.json', 'console.log', 'disk.raw', 'qemu.log'].map((file) => join(run, file)),
        ],
        sockets: [join(run, 'qmp'), join(run, 'agt'), control, `\0orilla-test-${process.pid}`],
        targets,
        pids: [process.pid, neighbour.pid, 1],
      });
      datagrams.close();
      expect(said.trim().split('\n')).toEqual(['own folder', 'own process', 'reaches {"path":"own.sock"}']);
      expect(visitors).toEqual([]);
      // The neighbour is as it was.
      expect((await fetch(guests.urlOf(neighbour))).status).toBe(200);
    });
  });
});
