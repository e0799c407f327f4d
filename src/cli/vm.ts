import { z } from 'zod';
import { defineErrors, formatBytes, formatDuration, systemClock } from '../base/index.ts';
import { snapshotSchema, type Vm, vmSchema } from '../pool/schema.ts';
import { ControlClient } from './control-client.ts';
import { imageReference } from './image-reference.ts';
import { ProgressLine, plainText, print, printTable } from './output.ts';

const cliError = defineErrors({ vm_failed: 502 });

/** How often a VM that is on its way is looked at. */
const LOOK_INTERVAL_MS = 100;

interface DataOption {
  readonly data: string;
}

export async function listVms(options: DataOption & { json?: boolean }): Promise<void> {
  const vms = await new ControlClient(options.data).get('/api/v1/vms', z.array(vmSchema));
  const nowMs = systemClock.nowMs();
  printTable(
    vms,
    {
      name: (vm) => vm.name,
      origin: (vm) => vm.owner,
      phase: (vm) => (vm.phase === 'suspended' ? `suspended (${vm.suspendedBy})` : vm.phase),
      since: (vm) => formatDuration(nowMs - vm.sinceMs),
      start: (vm) => (vm.lastStart ? formatDuration(vm.lastStart.totalMs) : '-'),
      restarts: (vm) => String(vm.restarts),
      cpus: (vm) => String(vm.configuration.cpus),
      memory: (vm) => formatBytes(vm.configuration.memoryBytes),
      image: (vm) => vm.imageDigest?.slice(7, 19) ?? '-',
      reason: (vm) => vm.reason ?? '',
    },
    { ...options, empty: 'no VMs: an origin asks for one, see docs/gateway.md; or "orilla vm run"' },
  );
}

export interface RunOptions extends DataOption {
  readonly origin: string;
  readonly image: string;
  readonly cpus: number;
  readonly memory: number;
  readonly disk: number;
}

export async function runVm(name: string, options: RunOptions): Promise<void> {
  const client = new ControlClient(options.data);
  const { cpus, memory, disk } = options;
  const configuration = { cpus, memoryBytes: memory, diskBytes: disk };
  const imageRef = await imageReference(client, options.image, options.data);
  await client.post('/api/v1/vms', { name, owner: options.origin, imageRef, configuration }, vmSchema);
  await followStart(client, name);
}

export async function suspendVm(name: string, { data }: DataOption): Promise<void> {
  const progress = new ProgressLine();
  const startMs = systemClock.monotonicMs();
  progress.show(`suspending ${name}`);
  try {
    await new ControlClient(data).command('POST', `${pathOf(name)}/suspend`);
  } finally {
    progress.end();
  }
  print(`suspended ${name} in ${formatDuration(systemClock.monotonicMs() - startMs)}`);
}

/** From where it was suspended, or from a snapshot. */
export async function resumeVm(
  name: string,
  { data, snapshot }: DataOption & { readonly snapshot?: string },
): Promise<void> {
  const client = new ControlClient(data);
  const from = snapshot === undefined ? 'resume' : `snapshots/${encodeURIComponent(snapshot)}/revert`;
  await client.post(`${pathOf(name)}/${from}`, {}, vmSchema);
  await followStart(client, name);
}

export async function snapshotVm(
  name: string,
  { data, as, ls, rm, json }: DataOption & { as?: string; ls?: boolean; rm?: string; json?: boolean },
): Promise<void> {
  const client = new ControlClient(data);
  const path = `${pathOf(name)}/snapshots`;
  if (ls) {
    const snapshots = await client.get(path, z.array(snapshotSchema));
    printTable(
      snapshots,
      {
        label: ({ label }) => label,
        taken: ({ takenAtMs }) => new Date(takenAtMs).toISOString().slice(0, 19).replace('T', ' '),
        size: ({ sizeBytes }) => formatBytes(sizeBytes),
        image: ({ imageDigest }) => imageDigest.slice(7, 19),
      },
      { ...(json && { json }), empty: `no snapshots: "orilla vm snapshot ${name}" takes one` },
    );
  } else if (rm !== undefined) {
    await client.delete(`${path}/${encodeURIComponent(rm)}`);
    print(`removed the snapshot ${rm} of ${name}`);
  } else {
    // As a label it is a DNS label: 2026-11-21-14-05-09.
    const now = new Date(systemClock.nowMs()).toISOString().slice(0, 19).replace(/[T:]/g, '-');
    const { label, sizeBytes } = await client.post(path, { label: as ?? now }, snapshotSchema);
    print(`snapshot ${label} of ${name}, ${formatBytes(sizeBytes)}`);
  }
}

export async function stopVm(name: string, { data }: DataOption): Promise<void> {
  await new ControlClient(data).delete(pathOf(name));
  print(`stopped ${name}`);
}

export async function printVmLogs(name: string, { data }: DataOption): Promise<void> {
  const { text } = await new ControlClient(data).get(
    `${pathOf(name)}/console`,
    z.object({ text: z.string() }),
  );
  process.stdout.write(plainText(text));
}

const pathOf = (name: string): string => `/api/v1/vms/${encodeURIComponent(name)}`;

/** Shows how far a VM is until it serves. */
async function followStart(client: ControlClient, name: string): Promise<void> {
  const progress = new ProgressLine();
  try {
    for (;;) {
      const vm = await client.get(pathOf(name), vmSchema);
      if (vm.phase === 'ready') {
        progress.end();
        print(`${name} is ready${startOf(vm)}`);
        return;
      }
      if (vm.phase === 'failed') throw cliError('vm_failed', `${name}: ${vm.reason ?? 'it failed'}`);
      progress.show(`${name}: ${vm.phase}`, vm.progress?.doneBytes, vm.progress?.totalBytes);
      await systemClock.sleep(LOOK_INTERVAL_MS);
    }
  } finally {
    progress.end();
  }
}

function startOf({ lastStart, accelerator }: Vm): string {
  if (!lastStart) return '';
  const { fetchMs, prepareMs, bootMs, totalMs } = lastStart;
  const phases = `image ${formatDuration(fetchMs)}, preparation ${formatDuration(prepareMs)}, start ${formatDuration(bootMs)}`;
  return ` after ${formatDuration(totalMs)} (${phases}; ${(accelerator ?? '').toUpperCase()})`;
}
