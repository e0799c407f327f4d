import { createHash } from 'node:crypto';
import type { Accelerator, MachineSpec } from '../hypervisor.ts';
import { qemuArguments, qemuProgram, type Reach } from './command-line.ts';
import { hostKey } from './host-key.ts';

/** Another number when what a template holds, or what is said to the agent, changes its meaning. */
const FORMAT = 2;

const hosts = new Map<string, Promise<string>>();

/**
 * Names the template from which a machine can be made, and what a machine was saved from: another image, configuration,
 * accelerator, QEMU, processor, kernel of the host, other disks, or another command line of ours is another one.
 */
export async function templateKey(
  { image, configuration, disks = [] }: MachineSpec,
  accelerator: Accelerator,
  reach: Reach,
): Promise<string> {
  const program = qemuProgram(image.manifest.architecture);
  const host = hosts.get(program) ?? hostKey(program);
  hosts.set(program, host);
  // Of all machines the same: the guest's clock is the template's, and its name is told at its resumption.
  const same = { id: 'template', name: 'template', image, configuration, disks };
  const args = qemuArguments(same, accelerator, '', reach, 'clone');
  const sizes = disks.map(({ sizeBytes }) => sizeBytes);
  const whole = JSON.stringify([FORMAT, await host, image.digest, configuration, sizes, program, args]);
  return createHash('sha256').update(whole).digest('hex').slice(0, 32);
}
