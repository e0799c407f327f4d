import { execFile } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/base/index.ts';
import { confinementSupport } from '../../src/pool/hypervisor/qemu/confinement-support.ts';
import type { Machine } from '../../src/pool/index.ts';
import { machineCost } from '../../src/pool/machine-cost.ts';
import { GUEST, RootedGuests } from '../support/rooted-guests.ts';
import { inCi, needs } from '../support/tools.ts';

const support = await confinementSupport();

describe.skipIf(!support.isConfined && !inCi)('confined machines', () => {
  needs('qemu-system-x86_64')('of an attacker who is root in the guest', () => {
    let guests: RootedGuests;
    let attacker: Machine;
    let neighbour: Machine;
    const visitors: string[] = [];
    const servers: Server[] = [];

    beforeAll(async () => {
      guests = await RootedGuests.make();
      [attacker, neighbour] = await Promise.all([guests.start('attacker'), guests.start('neighbour')]);
    });
    afterEach(() => {
      visitors.length = 0;
      for (const server of servers.splice(0)) server.close();
    });
    afterAll(() => guests.close());

    const inside = (machine: Machine, script: string) => guests.inside(machine, script);
    /** A server on every address of the host. */
    async function listen(port = 0): Promise<number> {
      const server = createServer((visitor) => {
        visitors.push(visitor.remoteAddress ?? '');
        visitor.on('error', () => undefined).end('reached');
      });
      servers.push(server.listen(port, '::'));
      await once(server, 'listening');
      return (server.address() as { port: number }).port;
    }
    const hostAddresses = () =>
      Object.values(networkInterfaces())
        .flatMap((addresses) => addresses ?? [])
        .flatMap(({ family, internal, address }) => (family === 'IPv4' && !internal ? [address] : []));

    test('open no connection to the host at any of its addresses, nor to its neighbour, nor to the metadata', async () => {
      const port = await listen();
      const targets = [
        ...['10.0.2.2', ...hostAddresses()].map((address) => `${address} ${port}`),
        `${neighbour.addresses[0].host} 80`,
        '169.254.169.254 80',
      ];
      const attempts = targets.map(
        (target) => `nc -w 2 ${target} </dev/null >/dev/null 2>&1 && echo reached ${target} &`,
      );
      expect(hostAddresses()).toContainEqual(expect.stringMatching(/^198\.18\./));
      // That the program can tell: its own server it does reach.
      const own = 'nc -w 2 127.0.0.1 80 </dev/null >/dev/null 2>&1 && echo reached itself &';
      const script = ['id -u', ...attempts, own, 'wait'].join('\n');
      expect(await inside(attacker, script)).toBe('0\nreached itself\n');
      expect(visitors).toEqual([]);
    });

    /** Runs a script in the guest and gives how many frames it sent meanwhile: that it did try. */
    const framesSentBy = async (script: string) => {
      const count = async () =>
        Number(await inside(attacker, 'cat /sys/class/net/eth0/statistics/tx_packets'));
      const before = await count();
      await inside(attacker, script);
      return (await count()) - before;
    };

    test('send no datagram and get no answer to a ping', async () => {
      const socket = createSocket('udp4', (message) => visitors.push(message.toString()));
      await new Promise<void>((resolve) => socket.bind(0, '0.0.0.0', resolve));
      const addresses = ['10.0.2.2', ...hostAddresses()];
      const datagrams = addresses.map(
        (address) => `timeout 2 tftp -g -r x ${address} ${socket.address().port} &`,
      );
      // The answers to the question for the page alone are fewer frames.
      expect(await framesSentBy([...datagrams, 'wait'].join('\n'))).toBeGreaterThanOrEqual(
        addresses.length + 5,
      );
      socket.close();
      expect(visitors).toEqual([]);
      const pings = addresses.map(
        (address) => `ping -c 1 -W 1 ${address} >/dev/null 2>&1 && echo ${address}`,
      );
      expect(await inside(attacker, [...pings, 'echo done'].join('\n'))).toBe('done\n');
    });

    test('get through with no other address, no other hardware address and not from the port of their server', async () => {
      const port = await listen();
      const link = hostAddresses().find((address) => address.startsWith('198.18.'));
      const attempt = (options = '') => `nc -w 2 ${options} ${link} ${port} </dev/null && echo reached`;
      // While it has neither its address nor its server nobody can ask it, so it writes down what it finds.
      const script = `{
        ip address add 10.0.2.99/24 dev eth0
        ip address add 198.18.0.77/32 dev eth0
        for source in 10.0.2.99 198.18.0.77; do
          ip route replace default via 10.0.2.2 src $source
          ${attempt()}
        done
        ip address del 198.18.0.77/32 dev eth0
        ip address del 10.0.2.99/24 dev eth0
        ip link set eth0 down
        ip link set eth0 address 52:54:00:00:00:01
        ip link set eth0 up
        ip route add default via 10.0.2.2
        ${attempt()}
        ip link set eth0 down
        ip link set eth0 address 52:54:00:12:34:56
        ip link set eth0 up
        ip route add default via 10.0.2.2
        killall httpd
        ${attempt('-p 80')}
        echo done
      } </dev/null >/tmp/found 2>/dev/null &`;
      await inside(attacker, script);
      const found = async () => {
        for (;;) {
          const said = await inside(attacker, 'cat /tmp/found').catch(() => '');
          if (said.includes('done')) return said;
          await systemClock.sleep(100);
        }
      };
      expect(await found()).toBe('done\n');
      expect(visitors).toEqual([]);
    });

    test('that have taken over their QEMU find a user of its own without privileges, in a network that leads nowhere', async () => {
      const port = await listen();
      const status = (pid: number) => readFileSync(`/proc/${pid}/status`, 'utf8');
      const userOf = (machine: Machine) => Number(/^Uid:\s+(\d+)/m.exec(status(machine.pid))?.[1]);
      expect(userOf(attacker)).toBeGreaterThan(1_900_000_000 - 1);
      expect(userOf(attacker)).not.toBe(userOf(neighbour));
      expect(status(attacker.pid)).toMatch(/^Groups:\s*$/m);
      // To change the user it needed two; without one of them, and with no new privileges, they cannot come back.
      expect(status(attacker.pid)).toMatch(/^CapBnd:\s+0+c0$/m);
      expect(status(attacker.pid)).toMatch(/^CapPrm:\s+0+$/m);
      expect(status(attacker.pid)).toMatch(/^CapEff:\s+0+$/m);
      expect(status(attacker.pid)).toMatch(/^NoNewPrivs:\s+1$/m);
      expect(status(attacker.pid)).toMatch(/^Seccomp:\s+2$/m);
      for (const kind of ['net', 'mnt', 'ipc']) {
        expect(readlinkSync(`/proc/${attacker.pid}/ns/${kind}`)).not.toBe(
          readlinkSync(`/proc/self/ns/${kind}`),
        );
      }
      expect(readFileSync(`/proc/${attacker.pid}/environ`, 'utf8').split('\0').filter(Boolean)).toEqual([
        expect.stringMatching(/^PATH=/),
        'LC_ALL=C',
        expect.stringMatching(/^PWD=/),
      ]);
      const connect = `
        const sockets = process.argv.slice(1).map((target) => {
          const [host, port] = target.split(' ');
          return require('node:net').connect({ host, port }).on('connect', () => console.log(target)).on('error', () => {});
        });
        setTimeout(() => process.exit(), 1500);`;
      const targets = [...hostAddresses(), '127.0.0.1'].map((address) => `${address} ${port}`);
      const { stdout } = await promisify(execFile)('nsenter', [
        ...[`--net=/proc/${attacker.pid}/ns/net`, '--', process.execPath, '-e', connect],
        ...[...targets, `${neighbour.addresses[0].host} 80`, '169.254.169.254 80'],
      ]);
      expect(stdout).toBe('');
      expect(visitors).toEqual([]);
    });

    test('fill no more of the host than their disk, and no endless console', async () => {
      await inside(attacker, 'dd if=/dev/zero of=/dev/vda bs=64k; true');
      const run = join(guests.runFolder, attacker.id);
      expect(statSync(guests.diskOf('attacker')).blocks * 512).toBeLessThanOrEqual(GUEST.diskBytes);
      // Beside it, it takes of the host's room what is kept of its console.
      const taken = readdirSync(run).reduce((sum, file) => sum + statSync(join(run, file)).blocks * 512, 0);
      expect(taken).toBeLessThan(2 * 2 ** 20);
      await inside(
        attacker,
        'yes "$(head -c 4000 /dev/zero | tr "\\\\0" x)" </dev/null >/dev/console 2>&1 &',
      );
      // Cut every 5 s to its end; what can come in between is what the emulated serial line carries.
      const sizes: number[] = [];
      for (let look = 0; look < 70; look += 1) {
        sizes.push(statSync(join(run, 'console.log')).size);
        await systemClock.sleep(200);
      }
      await inside(attacker, 'killall yes');
      expect(Math.max(...sizes)).toBeGreaterThan(2 ** 20);
      expect(Math.max(...sizes)).toBeLessThan(64 * 2 ** 20);
      expect(sizes.some((size, look) => size < (sizes[look - 1] ?? 0))).toBe(true);
      expect((await guests.hypervisor.consoleTail('attacker')).length).toBeLessThanOrEqual(64 * 1024);
    });

    test.for([
      { what: 'take all memory', script: 'for each in 1 2 3 4; do tail /dev/zero & done' },
      { what: 'are a fork bomb', script: 'bomb() { bomb | bomb & }; bomb' },
    ])('that $what leave their neighbour and the host as they were', async ({ script }) => {
      const busy = await guests.start('busy');
      void inside(busy, `{ ${script}; } </dev/null >/dev/null 2>&1`).catch(() => undefined);
      for (let look = 0; look < 20; look += 1) {
        expect((await fetch(guests.urlOf(neighbour))).status).toBe(200);
        await systemClock.sleep(100);
      }
      const resident = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${busy.pid}/status`, 'utf8'))?.[1];
      expect(Number(resident) * 1024).toBeLessThan(machineCost(GUEST, 'tcg'));
      await busy.stop();
    });
  });
});
