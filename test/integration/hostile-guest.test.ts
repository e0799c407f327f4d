import { mkdtempSync, rmSync } from 'node:fs';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/base/index.ts';
import { confinementSupport } from '../../src/pool/hypervisor/qemu/confinement-support.ts';
import { rootedImage } from '../support/rooted-image.ts';
import { PATIENCE_MS, RunningOrilla } from '../support/running-orilla.ts';
import { TestOrigin } from '../support/test-origin.ts';
import { inCi, needs } from '../support/tools.ts';
import { VmApiClient } from '../support/vm-api-client.ts';
import { webImage } from '../support/web-image.ts';

const support = await confinementSupport();

describe.skipIf(!support.isConfined && !inCi)('a whole edge', () => {
  needs('qemu-system-x86_64')('one of whose guests is an attacker, root in it', () => {
    let origin: TestOrigin;
    let orilla: RunningOrilla;
    let attackerUrl: string;
    let folder: string;

    beforeAll(async () => {
      folder = mkdtempSync(join(tmpdir(), 'o-'));
      origin = await TestOrigin.start();
      origin.images['rooted'] = (await rootedImage(join(folder, 'rooted'))).folder;
      origin.images['web'] = (await webImage()).folder;
      orilla = await RunningOrilla.start({
        origins: { photos: { port: origin.port }, evil: { port: origin.port }, plain: { port: origin.port } },
        // Reachable at each of the host's addresses, if it were not for the machine's confinement.
        listen: '0.0.0.0:0',
      });
      await new VmApiClient(orilla, 'photos').load({ name: 'sibling', imageRef: origin.imageUrl('web') });
      await new VmApiClient(orilla, 'evil').load({ name: 'attacker', imageRef: origin.imageUrl('rooted') });
      await orilla.untilPhase('sibling', 'ready');
      const [address] = (await orilla.untilPhase('attacker', 'ready')).addresses ?? [];
      attackerUrl = `http://${address?.host}:${address?.port}`;
    });
    afterAll(async () => {
      await orilla[Symbol.asyncDispose]();
      await origin[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true, force: true });
    });

    /** Runs a script in the attacker's guest, as its root. */
    const inside = async (script: string) => {
      const signal = AbortSignal.timeout(PATIENCE_MS);
      return (await fetch(`${attackerUrl}/cgi-bin/run`, { method: 'POST', body: script, signal })).text();
    };
    const behind = (script: string) => inside(`{ ${script} } </dev/null >/dev/null 2>&1 &`);

    test('keeps its gateway, its VM API and its status page from it', async () => {
      const hosts = Object.values(networkInterfaces())
        .flatMap((addresses) => addresses ?? [])
        .flatMap(({ family, internal, address }) => (family === 'IPv4' && !internal ? [address] : []));
      const ports = [orilla.gatewayPort, orilla.apiPort, orilla.controlPort];
      // From here they are reached: what the guest finds is its confinement.
      for (const port of ports) await fetch(`http://${hosts[0]}:${port}/`);
      const targets = ['10.0.2.2', '127.0.0.1', ...hosts].flatMap((host) =>
        ports.map((port) => `${host} ${port}`),
      );
      const attempts = targets.map(
        (target) => `nc -w 2 ${target} </dev/null >/dev/null 2>&1 && echo ${target} &`,
      );
      expect(await inside([...attempts, 'wait', 'echo done'].join('\n'))).toBe('done\n');
    });

    test.for([
      ['takes all of its memory', 'for each in 1 2 3 4; do tail /dev/zero & done; wait;'],
      ['is a fork bomb', 'n=0; while [ $n -lt 3000 ]; do sleep 5 & n=$((n + 1)); done;'],
      ['asks its own server without an end', 'while :; do nc -w 1 127.0.0.1 80 </dev/null & done;'],
    ] as const)('serves on, from the origin and from another VM, while it %s', async ([, script]) => {
      await behind(`timeout 6 sh -c '${script}'`).catch(() => undefined);
      const times: number[] = [];
      for (let look = 0; look < 30; look += 1) {
        const startMs = systemClock.monotonicMs();
        expect(await orilla.visit('photos.example')).toMatchObject({ status: 200, servedBy: 'vm/sibling' });
        expect(await orilla.visit('plain.example')).toMatchObject({ status: 200, servedBy: 'origin' });
        times.push(systemClock.monotonicMs() - startMs);
        await systemClock.sleep(50);
      }
      expect(Math.max(...times)).toBeLessThan(2000);
      expect((await orilla.status()).vms.find(({ name }) => name === 'sibling')?.restarts).toBe(0);
    });

    test('bounds the connections of visitors to a guest that takes them and never answers', async () => {
      // Its kernel takes connections on.
      await behind('sleep 0.3; killall -STOP httpd;');
      await systemClock.sleep(1000);
      const held = Array.from({ length: 50 }, () =>
        orilla.visit('evil.example').then(({ servedBy }) => servedBy),
      );
      const others = await Promise.all(Array.from({ length: 20 }, () => orilla.visit('photos.example')));
      expect(others.map(({ servedBy }) => servedBy)).toEqual(others.map(() => 'vm/sibling'));
      // It is given up, and its site served by its origin.
      expect(new Set(await Promise.all(held))).toEqual(new Set(['origin']));
    });
  });
});
