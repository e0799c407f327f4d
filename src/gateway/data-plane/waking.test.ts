import { createServer, type Server } from 'node:http';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ask } from '../../../test/support/ask.ts';
import { ManualClock, systemRandom } from '../../base/index.ts';
import { silentLog } from '../../platform/telemetry/index.ts';
import type { Exchange, Route } from './data-plane.ts';
import { RawDataPlane } from './raw-data-plane.ts';

const ASLEEP = { name: 'photos-1' };

let clock: ManualClock;
let plane: RawDataPlane;
let servers: Server[];
let origin: number;
let vm: number;
/** VMs that were asked for. */
let woken: string[];
let isAnybodyThere: boolean;
let seen: Exchange[];
let untilWoken: Promise<void>;

beforeEach(async () => {
  clock = new ManualClock();
  servers = [];
  woken = [];
  seen = [];
  isAnybodyThere = true;
  const asked = Promise.withResolvers<void>();
  untilWoken = asked.promise;
  [origin, vm] = await Promise.all([serve('origin'), serve('vm')]);
  plane = await RawDataPlane.start(
    {
      clock,
      random: systemRandom,
      log: silentLog,
      observe: (exchange) => seen.push(exchange),
      wake: (name) => {
        woken.push(name);
        asked.resolve();
        return isAnybodyThere;
      },
    },
    { host: '127.0.0.1', port: 0 },
  );
  route({ asleep: [ASLEEP] });
});

afterEach(async () => {
  await plane.close();
  for (const server of servers) server.close();
});

/** A server that says its name, and what was sent to it. */
async function serve(name: string): Promise<number> {
  const server = createServer((request, response) => {
    request.setEncoding('utf8');
    let body = '';
    request.on('data', (text: string) => {
      body += text;
    });
    request.on('end', () => response.end(`${name} ${body}`.trim()));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return typeof address === 'object' && address ? address.port : 0;
}

function route(more: Partial<Route>): void {
  const upstream = { host: '127.0.0.1', port: origin, isTls: false };
  plane.apply({
    routes: new Map([['photos.example', { origin: 'photos', upstream, vms: [], ...more }]]),
    tag: { name: 'Bng-API-Server', value: '192.0.2.1' },
    showServedBy: true,
  });
}

const awake = (name = ASLEEP.name) => route({ vms: [{ name, host: '127.0.0.1', port: vm, isTls: false }] });

describe('a request for a VM that sleeps', () => {
  test('wakes it, waits for it, and is served by it', async () => {
    const answer = ask(plane.port, 'photos.example');
    await untilWoken;
    expect([woken, seen]).toEqual([['photos-1'], []]);
    awake();
    expect((await answer).body).toBe('vm');
    expect(plane.vmUses).toEqual([['photos-1', { active: 0, idleMs: 0 }]]);
  });

  test('goes on waiting while the routes change otherwise', async () => {
    const answer = ask(plane.port, 'photos.example');
    await untilWoken;
    route({ asleep: [ASLEEP] });
    awake();
    expect((await answer).body).toBe('vm');
  });

  test('brings its body along, small or large', async () => {
    for (const body of ['ink', 'x'.repeat(200_000)]) {
      route({ asleep: [ASLEEP] });
      const known = woken.length;
      const answer = ask(plane.port, 'photos.example', '/', { method: 'POST', body });
      while (woken.length === known) await new Promise((resolve) => setImmediate(resolve));
      awake();
      expect((await answer).body).toBe(`vm ${body}`);
    }
  });

  test('goes to the origin when the VM does not wake in ten seconds', async () => {
    const answer = ask(plane.port, 'photos.example');
    await untilWoken;
    await clock.advance(10_000);
    expect((await answer).body).toBe('origin');
  });

  test('goes to the origin as soon as it is known that the VM cannot be woken', async () => {
    const answer = ask(plane.port, 'photos.example');
    await untilWoken;
    route({});
    expect((await answer).body).toBe('origin');
  });

  test('does not wait when nobody is there who could wake the VM', async () => {
    isAnybodyThere = false;
    expect((await ask(plane.port, 'photos.example')).body).toBe('origin');
  });

  test('does not wake it when it is not in its scope, or another VM serves', async () => {
    route({ asleep: [{ ...ASLEEP, scope: { paths: ['/photos/'] } }] });
    expect((await ask(plane.port, 'photos.example', '/other')).body).toBe('origin');
    route({ asleep: [ASLEEP], vms: [{ name: 'photos-2', host: '127.0.0.1', port: vm, isTls: false }] });
    expect((await ask(plane.port, 'photos.example')).body).toBe('vm');
    expect(woken).toEqual([]);
  });
});
