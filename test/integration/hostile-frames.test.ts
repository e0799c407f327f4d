import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { networkInterfaces } from 'node:os';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/base/index.ts';
import { confinementSupport } from '../../src/pool/hypervisor/qemu/confinement-support.ts';
import { GUEST_NETWORK } from '../../src/pool/hypervisor/qemu/guest-network.ts';
import type { Machine } from '../../src/pool/index.ts';
import { sending } from '../support/frame-sender.ts';
import { arp, ethernet, ip4, mac, TCP } from '../support/frames.ts';
import { firstSegmentInFragments, hostileFrames, segment } from '../support/hostile-frames.ts';
import { RootedGuests } from '../support/rooted-guests.ts';
import { inCi, needs } from '../support/tools.ts';

const support = await confinementSupport();
const { address, gateway, hardwareAddress, gatewayHardwareAddress } = GUEST_NETWORK;
const ROUNDS = 50;
/** Two requests over HTTP take some 10 frames each, to the host. */
const OF_OUR_OWN = 40;

describe.skipIf(!support.isConfined && !inCi)('confined machines', () => {
  needs('qemu-system-x86_64')('of an attacker who sends frames past the guest’s own network', () => {
    let guests: RootedGuests;
    let attacker: Machine;
    let neighbour: Machine;
    let server: Server;
    let host: string;

    beforeAll(async () => {
      guests = await RootedGuests.make();
      [attacker, neighbour] = await Promise.all([guests.start('attacker'), guests.start('neighbour')]);
      host = guests.linkOf(attacker).hostAddress;
      server = createServer();
      await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve));
    });
    afterAll(async () => {
      server.close();
      await guests.close();
    });

    const sentByGuest = async () =>
      Number(await guests.inside(attacker, 'cat /sys/class/net/eth0/statistics/tx_packets'));
    /** Those of all namespaces of the host: they share one table. */
    const neighboursOfHost = () =>
      Number.parseInt(readFileSync('/proc/net/stat/arp_cache', 'utf8').split('\n')[1] ?? '', 16);

    /** Sends frames, shows that they were sent, and gives how many came out on the host's side. */
    async function outOf(frames: readonly Buffer[], rounds: number): Promise<number> {
      const sentBefore = await sentByGuest();
      const outBefore = guests.framesOutOf(attacker);
      await guests.inside(attacker, sending(frames, rounds));
      const out = guests.framesOutOf(attacker) - outBefore;
      expect((await sentByGuest()) - sentBefore).toBeGreaterThanOrEqual(frames.length * rounds);
      return out;
    }

    test('get none out of their machine but answers of their server', async () => {
      const others = Object.values(networkInterfaces())
        .flatMap((addresses) => addresses ?? [])
        .flatMap(({ family, address: each }) => (family === 'IPv4' && each !== host ? [each] : []));
      const services = ['169.254.169.254', '255.255.255.255', '224.0.0.1', gateway, '192.0.2.1'];
      const frames = hostileFrames(host, [neighbour.addresses[0].host, ...others, ...services]);
      const neighboursBefore = neighboursOfHost();
      const atNeighbour = guests.framesOutOf(neighbour);
      for (const [name, tried] of Object.entries(frames)) {
        expect([name, (await outOf(tried, ROUNDS)) < OF_OUR_OWN]).toEqual([name, true]);
      }
      // But for the host's own questions by ARP.
      expect(guests.framesOutOf(neighbour) - atNeighbour).toBeLessThan(5);
      expect(neighboursOfHost() - neighboursBefore).toBeLessThan(20);
      // That the count can tell: answers do come out.
      expect(await outOf([segment(host, TCP.ack)], ROUNDS)).toBeGreaterThanOrEqual(ROUNDS);
    });

    test('get out none of a thousand at random but those in the form of an answer', async () => {
      const flags = new Set([TCP.ack, TCP.syn | TCP.ack, TCP.fin | TCP.ack, TCP.rst, TCP.rst | TCP.ack]);
      const isAnswer = (frame: Buffer) =>
        (frame.readUInt16BE(20) & 0x3fff) === 0 &&
        frame.subarray(6, 12).equals(mac(hardwareAddress)) &&
        frame.readUInt16BE(12) === 0x0800 &&
        frame[14] === 0x45 &&
        frame[23] === 6 &&
        frame.subarray(26, 30).equals(ip4(address)) &&
        frame.subarray(30, 34).equals(ip4(host)) &&
        frame.readUInt16BE(34) === 80 &&
        flags.has((frame[47] ?? 0) & 0x17);
      const change = fc.record({ at: fc.nat(53), to: fc.nat(255) });
      const random = fc.sample(fc.array(change, { minLength: 1, maxLength: 3 }), 1000).map((changes) => {
        const frame = Buffer.from(segment(host, TCP.ack));
        for (const { at, to } of changes) frame[at] = to;
        return frame;
      });
      expect(await outOf(random, 1)).toBeLessThanOrEqual(random.filter(isAnswer).length + OF_OUR_OWN);
    });

    test('open no connection to the host in fragments', async () => {
      const { port } = server.address() as { port: number };
      // State 03 is SYN_RECV (proc_net_tcp.rst).
      const halfOpen = new RegExp(`:${port.toString(16).padStart(4, '0')} \\S+ 03 `, 'i');
      const isHalfOpen = () => halfOpen.test(readFileSync('/proc/net/tcp', 'utf8'));
      // Without an address the guest does not break off what it finds opened.
      await guests.inside(
        attacker,
        `{ sleep 0.2; ip address del ${address}/24 dev eth0
          ${sending(firstSegmentInFragments(host, port), 5)}
          sleep 1; ip address add ${address}/24 dev eth0; ip route add default via ${gateway}
        } </dev/null >/dev/null 2>&1 &`,
      );
      const seen: boolean[] = [];
      for (let look = 0; look < 60; look += 1) {
        seen.push(isHalfOpen());
        await systemClock.sleep(20);
      }
      expect(seen).not.toContain(true);
    });

    test('note no neighbours in the table that all of the host shares', async () => {
      const before = neighboursOfHost();
      const questions = Array.from({ length: 2000 }, (_, index) => {
        const sender = `10.9.${index >> 8}.${index & 255}`;
        const question = arp({ operation: 1, senderMac: hardwareAddress, sender, target: gateway });
        return ethernet(gatewayHardwareAddress, hardwareAddress, 0x0806, question);
      });
      await outOf(questions, 1);
      expect(neighboursOfHost() - before).toBeLessThan(20);
    });

    test('learn of no port of the host whether something listens there', async () => {
      const { port } = server.address() as { port: number };
      const received = async () =>
        Number(await guests.inside(attacker, 'cat /sys/class/net/eth0/statistics/rx_packets'));
      for (const flags of [0, 1, 2, 3, 4, 6, 8, 16, 17, 18, 20, 32, 41, 63]) {
        const answers: number[] = [];
        for (const each of [port, 9]) {
          const before = await received();
          await guests.inside(attacker, `${sending([segment(host, flags, each)], ROUNDS)}usleep 50000`);
          answers.push((await received()) - before);
        }
        const [listening = 0, closed = 0] = answers;
        expect([flags, Math.abs(listening - closed) < ROUNDS / 2]).toEqual([flags, true]);
      }
    });

    test('flood nobody: their neighbour answers as ever, and nothing comes out', async () => {
      const frames = Object.values(hostileFrames(host, [neighbour.addresses[0].host])).flat();
      const before = guests.framesOutOf(attacker);
      await guests.inside(attacker, `{ ${sending(frames, 0)} } </dev/null >/dev/null 2>&1 &`);
      const times: number[] = [];
      for (let look = 0; look < 40; look += 1) {
        const startMs = systemClock.monotonicMs();
        expect((await fetch(guests.urlOf(neighbour))).status).toBe(200);
        times.push(systemClock.monotonicMs() - startMs);
        await systemClock.sleep(50);
      }
      await guests.inside(attacker, 'killall send-frames');
      expect(await sentByGuest()).toBeGreaterThan(20_000);
      expect(guests.framesOutOf(attacker) - before).toBeLessThan(3 * OF_OUR_OWN);
      expect(Math.max(...times)).toBeLessThan(1000);
    });
  });
});
