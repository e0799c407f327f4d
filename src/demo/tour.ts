/**
 * The tour: what a visitor would do and see, step by step. Every figure is measured at the door or read from `/metrics`.
 * @module
 */
import { type Clock, formatBytes, formatDuration } from '../base/index.ts';
import type { Vm } from '../pool/schema.ts';
import { type RunningDemo, SITE_HOST, VM_HOST } from './demo.ts';
import { demoError } from './errors.ts';
import { askStatus, readMetric, type Visit, visit } from './web.ts';

const READY_TIMEOUT_MS = 90_000;
const VISITS = 50;
const POLL_MS = 50;

type Say = (line: string) => void;

/** @throws `demo_failed` at the first step that does not go as it should. */
export async function takeTour(clock: Clock, { ports, orilla }: RunningDemo, say: Say): Promise<void> {
  const originBytes = () =>
    readMetric(ports.control, 'orilla_gateway_upstream_bytes_total', { upstream: 'origin' });
  const site = () => visit(ports.gateway, SITE_HOST);

  // From an earlier run there may be a VM that comes back by itself; the tour begins without one.
  for (const { name } of (await askStatus(ports.control)).vms) await orilla('vm', 'stop', name);
  const first = await site();
  expect(first, 'origin');
  say(`1  the first request is answered by the origin: ${describe(first)}`);

  const vm = await untilReady(clock, ports.control);
  say(
    `2  the origin saw the tag and asked for a VM: ${describeStart(vm)} (${vm.accelerator?.toUpperCase()})`,
  );
  const prepareMs = vm.lastStart?.prepareMs ?? 0;
  if (prepareMs > 1000) {
    say(`   before its first VM the gateway tried out which accelerator works: ${formatDuration(prepareMs)}`);
  }

  const bytesBefore = await originBytes();
  const visits: Visit[] = [];
  for (let i = 0; i < VISITS; i += 1) visits.push(await site());
  for (const each of visits) expect(each, `vm/${vm.name}`);
  const sent = (await originBytes()) - bytesBefore;
  if (sent !== 0) throw demoError('demo_failed', `${sent} octets went to the origin although the VM served`);
  const times = visits.map(({ totalMs }) => totalMs).toSorted((a, b) => a - b);
  say(
    `3  the next ${VISITS} requests are answered by the VM, ${formatBytes(sent)} to the origin; median ${formatDuration(times[VISITS / 2] ?? 0)}`,
  );

  const direct = await visit(ports.gateway, VM_HOST);
  expect(direct, `vm/${vm.name}`);
  say(`4  the VM has a name of its own, ${VM_HOST}: ${describe(direct)}`);

  await killWhileAsked(clock, ports, vm, say);
  await suspendAndResume(clock, { ports, orilla }, vm.name, say);
}

/** How its machine came to be, by phase. */
function describeStart({ lastStart }: Vm): string {
  if (!lastStart) return 'it runs';
  const { fetchMs, bootMs, origin } = lastStart;
  const began = {
    boot: 'booted',
    clone: 'cloned from the template',
    warm: 'woken from a warm clone',
    saved: 'resumed',
  };
  const kept = origin === 'boot' ? ', and kept as the template of those to come' : '';
  return `image there after ${formatDuration(fetchMs)}, ${began[origin]} in ${formatDuration(bootMs)}${kept}`;
}

/** The VM leaves its memory to others, and comes back as it was. */
async function suspendAndResume(
  clock: Clock,
  { ports, orilla }: Pick<RunningDemo, 'ports' | 'orilla'>,
  name: string,
  say: Say,
): Promise<void> {
  const startMs = clock.monotonicMs();
  await orilla('vm', 'suspend', name);
  const suspendedMs = clock.monotonicMs();
  expect(await visit(ports.gateway, SITE_HOST), 'origin');
  await orilla('vm', 'resume', name);
  const vm = await untilReady(clock, ports.control);
  expect(await visit(ports.gateway, SITE_HOST), `vm/${name}`);
  say(
    `6  suspended in ${formatDuration(suspendedMs - startMs)}, its memory is on the disk and the origin serves; ` +
      `${describeStart(vm)}, the VM serves again, as it was`,
  );
}

/** Kills the VM's process as a fault would, and asks for pages until another one serves. */
async function killWhileAsked(
  clock: Clock,
  ports: RunningDemo['ports'],
  vm: { readonly name: string; readonly pid?: number | undefined },
  say: Say,
): Promise<void> {
  if (vm.pid === undefined) throw demoError('demo_failed', 'the status does not tell the process of the VM');
  const startMs = clock.monotonicMs();
  process.kill(vm.pid, 'SIGKILL');
  let byOrigin = 0;
  let asked = 0;
  for (let isBack = false; !isBack; ) {
    if (clock.monotonicMs() - startMs > READY_TIMEOUT_MS) throw demoError('demo_failed', 'no VM took over');
    const answer = await visit(ports.gateway, SITE_HOST);
    asked += 1;
    if (answer.status !== 200)
      throw demoError('demo_failed', `a request got ${answer.status} while the VM was dead`);
    isBack = answer.servedBy !== 'origin' && byOrigin > 0;
    if (answer.servedBy === 'origin') byOrigin += 1;
    await clock.sleep(POLL_MS);
  }
  const backMs = clock.monotonicMs() - startMs;
  say(
    `5  its VM killed, the site goes on: ${asked} requests, none failed, ${byOrigin} answered by the origin; a new VM serves after ${formatDuration(backMs)}`,
  );
  say(`   ${describeStart(await untilReady(clock, ports.control))}`);
}

async function untilReady(clock: Clock, controlPort: number): Promise<Vm> {
  const deadlineMs = clock.monotonicMs() + READY_TIMEOUT_MS;
  for (;;) {
    const [vm] = (await askStatus(controlPort)).vms;
    if (vm?.phase === 'ready') return vm;
    if (vm?.phase === 'failed') throw demoError('demo_failed', `the VM failed: ${vm.reason}`);
    if (clock.monotonicMs() > deadlineMs) {
      throw demoError(
        'demo_failed',
        `no VM was ready within ${formatDuration(READY_TIMEOUT_MS)}: ${vm?.reason ?? vm?.phase ?? 'none was asked for'}`,
      );
    }
    await clock.sleep(POLL_MS);
  }
}

function expect(answer: Visit, servedBy: string): void {
  if (answer.status === 200 && answer.servedBy === servedBy) return;
  throw demoError(
    'demo_failed',
    `expected 200 by ${servedBy}, got ${answer.status} by ${answer.servedBy || 'nobody'}`,
  );
}

const describe = (answer: Visit): string =>
  `${formatBytes(answer.bodyBytes)} in ${formatDuration(answer.totalMs)}`;
