/** What the API says of VMs, operations and images. */
import type { OwnImage } from '../../pool/index.ts';
import type { Operation, Vm } from '../../pool/schema.ts';
import { scopeOf } from '../offload.ts';
import type { LoadedVm, ShownApplication, ShownImage, ShownOperation } from '../schema.ts';

export const OPERATIONS_PATH = '/version1/operations';
export const operationPath = ({ id }: Pick<Operation, 'id'>): string => `${OPERATIONS_PATH}/${id}`;

export interface Addresses {
  /** A VM's authority as users write it, the port with it unless it is 80: `photos.edge.example:8080`. */
  readonly authorityOf: (vmName: string) => string;
  /** The address at which users reach this gateway. */
  readonly publicAddress: string;
}

/** @param operation what was asked of it and is under way. */
export function describeVm(vm: Vm, addresses: Addresses, operation?: Operation): LoadedVm {
  const authority = addresses.authorityOf(vm.name);
  const { next } = vm;
  return {
    name: vm.name,
    status: vm.phase,
    host: authority.replace(/:\d+$/, ''),
    url: `http://${authority}/`,
    ip: addresses.publicAddress,
    version: vm.version,
    imageRef: vm.imageRef,
    imageDigest: vm.imageDigest,
    ...vm.configuration,
    scope: scopeOf(vm),
    reason: vm.reason,
    progress: vm.progress,
    next: next && {
      version: next.version,
      status: next.phase,
      imageRef: next.imageRef,
      imageDigest: next.imageDigest,
      reason: next.reason,
      progress: next.progress,
    },
    previous: vm.previous,
    application: vm.application,
    deployment: deploymentOf(vm),
    failedVersion: vm.failedVersion,
    operation: operation?.status === 'running' ? operationPath(operation) : undefined,
  };
}

/** What is in a VM, or on its way into it; `undefined` when there is nothing. @param operation as for a VM. */
export function describeApplication(vm: Vm, operation?: Operation): ShownApplication | undefined {
  const { name, application } = vm;
  const next = deploymentOf(vm);
  if (!application && !next) return undefined;
  return {
    virtualmachine: name,
    status: application ? 'running' : (next?.status ?? 'running'),
    ...application,
    next,
    operation: operation?.status === 'running' ? operationPath(operation) : undefined,
  };
}

const deploymentOf = ({ deployment }: Vm): LoadedVm['deployment'] =>
  deployment && {
    applicationRef: deployment.applicationRef,
    status: deployment.phase,
  };

const APPLICATION_KINDS: ReadonlySet<Operation['kind']> = new Set(['deploy', 'withdraw']);

/** @param vm the VM that it is about, when that is there. */
export function describeOperation(operation: Operation, vm: Vm | undefined): ShownOperation {
  const { id, kind, status, version, reason, createdAtMs, finishedAtMs } = operation;
  const side = APPLICATION_KINDS.has(kind) ? vm?.deployment : vm?.next?.version === version ? vm.next : vm;
  return {
    id,
    kind,
    status,
    virtualmachine: operation.vm,
    version,
    ...(status === 'running' && side && { phase: side.phase }),
    ...(status === 'running' && side && 'progress' in side && { progress: side.progress }),
    reason: status === 'running' ? (side && 'reason' in side ? side.reason : undefined) : reason,
    createdAt: new Date(createdAtMs).toISOString(),
    finishedAt: finishedAtMs === undefined ? undefined : new Date(finishedAtMs).toISOString(),
  };
}

export function describeImage({ digest, isWithdrawn, stored }: OwnImage): ShownImage {
  return {
    digest,
    status: isWithdrawn ? 'withdrawn' : stored ? 'stored' : 'absent',
    name: stored?.name,
    sizeBytes: stored?.sizeBytes,
  };
}
