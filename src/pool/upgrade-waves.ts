import type { Upgrade, UpgradeStep, Vm } from './schema.ts';

/** What is next in an upgrade, as its VMs are now. */
export interface NextWave {
  /** With what is known by now; the same object when nothing is new. */
  readonly upgrade: Upgrade;
  /** VMs that are to be changed now: a whole wave, or those of it whose change was never begun. */
  readonly begin: readonly string[];
}

/**
 * A wave begins when the one before it is over, and only if none of it failed. So what is wrong with an image meets as many
 * VMs as a wave has, and these go on with what they had [desktop D17].
 */
export function nextWave(upgrade: Upgrade, find: (vm: string) => Vm | undefined): NextWave {
  if (upgrade.status !== 'running') return { upgrade, begin: [] };
  const looked = upgrade.steps.map((step) =>
    step.status === 'changing' ? lookAt(step, upgrade, find(step.vm)) : step,
  );
  if (looked.some(({ status }) => status === 'changing')) {
    const begin = looked.filter((step) => isUnbegun(step, upgrade, find(step.vm))).map(({ vm }) => vm);
    return { upgrade: withSteps(upgrade, looked), begin };
  }
  if (looked.some(({ status }) => status === 'failed')) {
    return { upgrade: { ...upgrade, steps: looked, status: 'failed' }, begin: [] };
  }
  const begin: string[] = [];
  const steps = looked.map((step): UpgradeStep => {
    if (step.status !== 'waiting' || begin.length >= upgrade.waveSize) return step;
    const reason = whyNot(upgrade, find(step.vm));
    if (reason !== undefined) return ended(step, 'skipped', reason);
    begin.push(step.vm);
    return { vm: step.vm, status: 'changing' };
  });
  const status = begin.length > 0 ? 'running' : 'succeeded';
  return { upgrade: { ...upgrade, steps, status }, begin };
}

export const ended = ({ vm }: UpgradeStep, status: 'failed' | 'skipped', reason: string): UpgradeStep => ({
  vm,
  status,
  reason,
});

function withSteps(upgrade: Upgrade, steps: UpgradeStep[]): Upgrade {
  return steps.every((step, index) => step === upgrade.steps[index]) ? upgrade : { ...upgrade, steps };
}

function whyNot({ fromDigest }: Upgrade, vm: Vm | undefined): string | undefined {
  if (!vm || vm.phase === 'stopping') return 'it was stopped';
  if (vm.imageDigest !== fromDigest || vm.next) return 'its owner gave it another image';
  return vm.phase === 'suspended' && vm.suspendedBy === 'operator' ? 'it is suspended' : undefined;
}

/** What became of a VM that is being changed. */
function lookAt(step: UpgradeStep, upgrade: Upgrade, vm: Vm | undefined): UpgradeStep {
  if (!vm || vm.phase === 'stopping') return ended(step, 'skipped', 'it was stopped');
  if (vm.next) return step;
  if (vm.imageDigest !== upgrade.fromDigest) return { vm: step.vm, status: 'upgraded' };
  const { failedVersion } = vm;
  return failedVersion?.imageRef === upgrade.imageRef ? ended(step, 'failed', failedVersion.reason) : step;
}

/** We died after it was written down and before it was done. */
const isUnbegun = ({ status }: UpgradeStep, { fromDigest }: Upgrade, vm: Vm | undefined): boolean =>
  status === 'changing' && vm !== undefined && !vm.next && vm.imageDigest === fromDigest;
