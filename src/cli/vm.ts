import { z } from 'zod';
import { formatBytes, formatDuration, systemClock } from '../base/index.ts';
import { vmSchema } from '../pool/schema.ts';
import { ControlClient } from './control-client.ts';
import { plainText, print, printTable } from './output.ts';

export async function listVms(options: { data: string; json?: boolean }): Promise<void> {
  const vms = await new ControlClient(options.data).get('/api/v1/vms', z.array(vmSchema));
  const nowMs = systemClock.nowMs();
  printTable(
    vms,
    {
      name: (vm) => vm.name,
      origin: (vm) => vm.owner,
      phase: (vm) => vm.phase,
      since: (vm) => formatDuration(nowMs - vm.sinceMs),
      start: (vm) => (vm.lastStart ? formatDuration(vm.lastStart.totalMs) : '-'),
      restarts: (vm) => String(vm.restarts),
      cpus: (vm) => String(vm.configuration.cpus),
      memory: (vm) => formatBytes(vm.configuration.memoryBytes),
      image: (vm) => vm.imageDigest?.slice(7, 19) ?? '-',
      reason: (vm) => vm.reason ?? '',
    },
    { ...options, empty: 'no VMs: an origin asks for one, see docs/gateway.md' },
  );
}

export async function stopVm(name: string, options: { data: string }): Promise<void> {
  await new ControlClient(options.data).delete(`/api/v1/vms/${encodeURIComponent(name)}`);
  print(`stopped ${name}`);
}

export async function printVmLogs(name: string, options: { data: string }): Promise<void> {
  const path = `/api/v1/vms/${encodeURIComponent(name)}/console`;
  const { text } = await new ControlClient(options.data).get(path, z.object({ text: z.string() }));
  process.stdout.write(plainText(text));
}
