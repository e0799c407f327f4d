/**
 * The language of the remote command line [gateway G13], the same over SSH and telnet:
 *
 *     vm ls
 *     application show <vm>
 *     application deploy <vm> <ref> --digest sha256:… --signature …
 *     application remove <vm>
 *     operation <id>
 *     help
 *
 * @module
 */
import { z } from 'zod';
import { type Clock, deadline } from '../../base/index.ts';
import { poolError } from '../../pool/index.ts';
import { imageDigestSchema, labelSchema, type Operation } from '../../pool/schema.ts';
import { applicationRefSchema, operationIdSchema, signatureSchema } from '../schema.ts';
import {
  type Addresses,
  describeApplication,
  describeOperation,
  describeVm,
} from '../vm-api/descriptions.ts';
import { withoutHostPaths } from '../vm-api/host-paths.ts';
import type { Command, CommandAnswer, CommandContext } from './command.ts';

/** Who has an application put into a VM waits for so long to hear what became of it. */
const WAIT_LIMIT_MS = 60_000;

export interface CommandsDeps {
  readonly clock: Clock;
  readonly addresses: Addresses;
}

export function remoteCommands({ clock, addresses }: CommandsDeps): readonly Command[] {
  const commands: Command[] = [];
  // Cast: each command is run with what its own schema made of the line, which the list's type cannot say.
  const add = <Arguments extends object>(command: Command<Arguments>) =>
    void commands.push(command as unknown as Command);
  const settled = async (asked: Operation, context: CommandContext) => {
    const enough = AbortSignal.any([context.signal, deadline(clock, WAIT_LIMIT_MS)]);
    return answerOf(await context.vms.settled(asked, enough), context);
  };
  const byVm = z.strictObject({ vm: labelSchema });

  add({
    words: 'vm ls',
    usage: '',
    summary: 'the VMs of your origin',
    positional: [],
    options: [],
    arguments: z.strictObject({}),
    changes: false,
    run(_given, { vms, origin }) {
      const own = vms.list(origin);
      const lines = own.map(({ name, phase, application }) =>
        [name, phase, addresses.authorityOf(name), application ? nameOf(application) : '-'].join('  '),
      );
      return {
        lines: own.length > 0 ? lines : ['no VMs'],
        value: withoutHostPaths({ virtualmachines: own.map((vm) => describeVm(vm, addresses)) }),
      };
    },
  });
  add({
    words: 'application show',
    usage: '<vm>',
    summary: 'which application is in a VM',
    positional: ['vm'],
    options: [],
    arguments: byVm,
    changes: false,
    run({ vm }, { vms, origin }) {
      const application = describeApplication(vms.get(origin, vm));
      if (!application) throw poolError('application_not_found', `no application is in the VM ${vm}`);
      return { lines: linesOf(application), value: { application } };
    },
  });
  add({
    words: 'application deploy',
    usage: '<vm> <ref> --digest sha256:… --signature …',
    summary: 'put an application into a VM that runs: a URL, or a directory of the gateway',
    positional: ['vm', 'ref'],
    options: ['digest', 'signature'],
    arguments: z.strictObject({
      vm: labelSchema,
      ref: applicationRefSchema,
      digest: imageDigestSchema,
      signature: signatureSchema,
    }),
    changes: true,
    async run({ vm, ref, digest, signature }, context) {
      const wanted = { applicationRef: ref, digest, signature };
      return settled(await context.vms.deploy(context.origin, vm, wanted), context);
    },
  });
  add({
    words: 'application remove',
    usage: '<vm>',
    summary: 'take the application out of a VM',
    positional: ['vm'],
    options: [],
    arguments: byVm,
    changes: true,
    run: async ({ vm }, context) => settled(await context.vms.withdraw(context.origin, vm), context),
  });
  add({
    words: 'operation',
    usage: '<id>',
    summary: 'how far it is with what was asked, or how it ended',
    positional: ['id'],
    options: [],
    arguments: z.strictObject({ id: operationIdSchema }),
    changes: false,
    run: async ({ id }, context) => answerOf(await context.vms.operation(context.origin, id), context),
  });
  add({
    words: 'help',
    usage: '',
    summary: 'this list',
    positional: [],
    options: [],
    arguments: z.strictObject({}),
    changes: false,
    run() {
      const lines = commands.map(
        ({ words, usage, summary }) => `${`${words} ${usage}`.trim()}\n    ${summary}`,
      );
      const values = commands.map(({ words, usage, summary }) => ({ words, usage, summary }));
      return {
        lines: [...lines, '', 'With --json behind it a command answers in JSON.'],
        value: { commands: values },
      };
    },
  });
  return commands;
}

function answerOf(operation: Operation, { vms, origin }: CommandContext): CommandAnswer {
  const vm = vms.list(origin).find(({ name }) => name === operation.vm);
  const shown = withoutHostPaths(describeOperation(operation, vm));
  const hasFailed = shown.status === 'failed' || shown.status === 'cancelled';
  return {
    lines: linesOf(shown),
    value: { operation: shown },
    failure: hasFailed ? (shown.reason ?? `it is ${shown.status}`) : undefined,
  };
}

const nameOf = ({ name, version }: { name: string; version: string }): string => `${name} ${version}`;

const linesOf = (shown: object): string[] =>
  Object.entries(shown)
    .filter(([, value]) => value !== undefined && typeof value !== 'object')
    .map(([key, value]) => `${key}: ${value}`);
