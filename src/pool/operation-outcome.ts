import type { Operation, Vm } from './schema.ts';

/** How an operation that runs ends, as its VM is now; undefined while it goes on, or when the VM does not tell. */
export function operationOutcome(
  { version, kind }: Pick<Operation, 'version' | 'kind'>,
  vm: Vm | undefined,
): Pick<Operation, 'status' | 'reason'> | undefined {
  if (!vm || vm.phase === 'stopping') return { status: 'cancelled', reason: 'the VM was stopped' };
  if (kind === 'deploy' || kind === 'withdraw') return undefined;
  if (vm.version === version) {
    if (vm.phase === 'ready') return { status: 'succeeded' };
    if (vm.phase === 'suspended' && vm.suspendedBy === 'operator')
      return failed('the operator suspended the VM');
    return vm.phase === 'failed' ? failed(vm.reason) : undefined;
  }
  if (vm.next?.version === version) return vm.next.phase === 'failed' ? failed(vm.next.reason) : undefined;
  if (vm.failedVersion?.version === version) return failed(vm.failedVersion.reason);
  return { status: 'cancelled', reason: 'another version was asked for' };
}

const failed = (reason = 'for no known reason'): Pick<Operation, 'status' | 'reason'> => ({
  status: 'failed',
  reason,
});
