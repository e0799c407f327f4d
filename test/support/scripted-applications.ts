import { generateKeyPairSync } from 'node:crypto';
import type { OriginVmsDeps } from '../../src/gateway/origin-vms.ts';
import type { Origin } from '../../src/gateway/routes.ts';
import { type DeployRequest, poolError } from '../../src/pool/index.ts';
import type { Operation, Vm } from '../../src/pool/schema.ts';
import { SMALL } from './test-pool.ts';

export const DIGEST = `sha256:${'ab'.repeat(32)}`;
export const SIGNATURE = `${'A'.repeat(86)}==`;

export const APPLICATION_KEY = generateKeyPairSync('ed25519').publicKey.export({
  type: 'spki',
  format: 'pem',
});

/** An origin with these keys: lines of `authorized_keys`, and of applications. */
export const testOrigin = (
  name: string,
  sshKeys: string[],
  applicationKeys: string[] = [APPLICATION_KEY],
): Origin => ({
  name,
  hosts: [`${name}.example`],
  upstream: { host: '192.0.2.7', port: 80, isTls: false, authority: '192.0.2.7' },
  offload: { maxVms: 3, imageHosts: [], sshKeys, applicationKeys },
  source: 'command',
  isRotating: false,
});

/** `photos` has a key for its applications, `other` has none. */
export const TEST_ORIGINS = {
  find: (name: string) => ({ photos: testOrigin('photos', []), other: testOrigin('other', [], []) })[name],
};

export const testVm = (name: string, owner = 'photos'): Vm => ({
  name,
  owner,
  phase: 'ready',
  version: 1,
  imageRef: 'web',
  configuration: SMALL,
  ownerNote: '',
  createdAtMs: 0,
  sinceMs: 0,
  restarts: 0,
});

/** A pool whose VMs take every application, at once or when the test says so. */
export class ScriptedApplications {
  vms: Vm[] = [testVm('photos'), testVm('news', 'other')];
  readonly requests: DeployRequest[] = [];
  readonly keys: (string | undefined)[] = [];
  /** `running` until the test ends it. */
  outcome: Pick<Operation, 'status' | 'reason'> = { status: 'succeeded' };
  readonly #operations = new Map<string, Operation>();

  list: OriginVmsDeps['pool']['list'] = () => this.vms;

  deploy: OriginVmsDeps['pool']['deploy'] = async (request, once) => {
    this.requests.push(request);
    this.keys.push(once?.key);
    return this.#begin('deploy', request.vm, request.owner, (vm) => {
      if (this.outcome.status === 'running') {
        return { ...vm, deployment: { applicationRef: request.applicationRef, phase: 'installing' } };
      }
      if (this.outcome.status !== 'succeeded') return vm;
      return { ...vm, application: { name: 'notes', version: '1.0', digest: request.digest ?? '' } };
    });
  };

  withdrawApplication: OriginVmsDeps['pool']['withdrawApplication'] = async (name, owner) => {
    if (!this.vms.find((vm) => vm.name === name)?.application) {
      throw poolError('application_not_found', `no application is in the VM ${name}`);
    }
    return this.#begin('withdraw', name, owner, (vm) => ({ ...vm, application: undefined }));
  };

  operation: OriginVmsDeps['pool']['operation'] = async (owner, id) => {
    const operation = this.#operations.get(id);
    if (operation?.owner === owner) return operation;
    throw poolError('operation_not_found', `no operation of yours has the id ${id}, or not any more`);
  };

  settled: OriginVmsDeps['pool']['settled'] = async (operation, signal) => {
    if (operation.status === 'running' && !signal.aborted) {
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
    }
    return operation;
  };

  #begin(kind: Operation['kind'], name: string, owner: string, change: (vm: Vm) => Vm): Operation {
    this.vms = this.vms.map((vm) => (vm.name === name ? change(vm) : vm));
    const id = `op${this.#operations.size + 1}`;
    const operation: Operation = { id, owner, kind, vm: name, version: 1, createdAtMs: 0, ...this.outcome };
    this.#operations.set(id, operation);
    return operation;
  }
}
