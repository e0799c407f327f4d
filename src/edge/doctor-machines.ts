/**
 * What machines run on here and what holds them, told as it is: also what is lost.
 * @module
 */
import { messageOf } from '../base/index.ts';
import { silentLog } from '../platform/telemetry/index.ts';
import { AcceleratorProbe, cgroupSupport, confinementSupport, ImageStore } from '../pool/index.ts';
import type { DataFolder } from './data-folder.ts';
import type { DoctorDeps, Finding } from './doctor-finding.ts';

export async function accelerator(deps: DoctorDeps, data: DataFolder, signal: AbortSignal): Promise<Finding> {
  const subject = 'accelerator';
  try {
    const probe = new AcceleratorProbe(
      { clock: deps.clock, log: silentLog },
      data.acceleratorVerdict,
      data.run,
      false,
    );
    const images = await (await ImageStore.open(deps, data.images)).list();
    const image = images.find(({ isTrusted }) => isTrusted) ?? images[0];
    const verdict = image ? await probe.choose(image, signal) : await probe.kept();
    if (!verdict) {
      return {
        subject,
        state: 'notable',
        finding: 'not known yet: the probe boots the kernel of an image, and none is stored',
        advice: 'orilla image build web --out web && orilla image import web, then ask again',
      };
    }
    const finding = `${verdict.accelerator.toUpperCase()}: ${verdict.reason}`;
    if (verdict.accelerator === 'kvm') return { subject, state: 'good', finding };
    return {
      subject,
      state: 'notable',
      finding,
      advice:
        'several times slower, and without isolation by QEMU: images that origins bring are refused, unless ' +
        'pool.allowUntrustedOnTcg',
    };
  } catch (error) {
    return { subject, state: 'notable', finding: `could not be probed: ${messageOf(error)}` };
  }
}

export async function confinement(): Promise<Finding> {
  const subject = 'isolation';
  const support = await confinementSupport();
  if (support.isConfined) {
    return { subject, state: 'good', finding: 'each machine has a user and a network of its own' };
  }
  return {
    subject,
    state: 'notable',
    finding: `machines run as this user, unconfined: ${support.reason}`,
    advice:
      'a QEMU that was taken over can do what Orilla can; run as root, with nft and ip: ' +
      'apt-get install nftables iproute2',
  };
}

export async function limits(): Promise<Finding> {
  const subject = 'limits';
  const support = await cgroupSupport();
  if (support.hasLimits) {
    const finding = `memory, processor time and threads of each machine, by cgroup v2 in ${support.folder}`;
    return { subject, state: 'good', finding };
  }
  return {
    subject,
    state: 'notable',
    finding: `none by the kernel: ${support.reason}`,
    advice: 'a machine may take all processor time; a QEMU that was taken over, all memory too',
  };
}
