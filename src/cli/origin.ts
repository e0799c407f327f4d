import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { defineErrors, messageOf, parseBytes } from '../base/index.ts';
import { enrolmentSchema, newOriginSchema, originSchema, type RotationStep } from '../gateway/routes.ts';
import { ControlClient } from './control-client.ts';
import { print, printTable } from './output.ts';

const cliError = defineErrors({ wrong_usage: 400 });
const ORIGINS = '/api/v1/origins';
const pathOf = (name: string): string => `${ORIGINS}/${encodeURIComponent(name)}`;

export interface AddOptions {
  readonly data: string;
  readonly host: string[];
  readonly upstream: string;
  readonly maxVms?: number;
  readonly maxMemory?: string;
  readonly imageHost?: string[];
  readonly sshKey?: string[];
  readonly applicationKey?: string[];
  readonly offload: boolean;
}

export async function addOrigin(name: string, options: AddOptions): Promise<void> {
  const { host: hosts, upstream, maxVms, maxMemory, imageHost: imageHosts } = options;
  const { sshKey, applicationKey } = options;
  if (!options.offload && (maxVms ?? maxMemory ?? imageHosts ?? sshKey ?? applicationKey) !== undefined) {
    throw cliError(
      'wrong_usage',
      '--no-offload: an origin without VMs takes no --max-vms, --max-memory, --image-host, --ssh-key or --application-key',
    );
  }
  const wanted = {
    name,
    hosts,
    upstream,
    ...(options.offload && {
      offload: {
        maxVms,
        maxMemoryBytes: maxMemory === undefined ? undefined : memoryOf(maxMemory),
        imageHosts,
        sshKeys: keyLines(sshKey),
        applicationKeys: applicationKey?.map((file) => readOption('--application-key', file)),
      },
    }),
  };
  checkUsage(wanted);
  const { token } = await new ControlClient(options.data).post(ORIGINS, wanted, enrolmentSchema);
  print(`added ${name}: ${hosts.join(', ')} → ${upstream}`);
  if (token !== undefined) printToken(token);
}

/** The keys in files like `~/.ssh/id_ed25519.pub` or an `authorized_keys`. */
const keyLines = (files: readonly string[] | undefined): string[] | undefined =>
  files
    ?.flatMap((file) => readOption('--ssh-key', file).split('\n'))
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));

function readOption(option: string, file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw cliError('wrong_usage', `${option}: cannot read ${file}: ${messageOf(error)}`, error);
  }
}

function memoryOf(text: string): number {
  const bytes = parseBytes(text);
  if (bytes === undefined)
    throw cliError('wrong_usage', `--max-memory: got ${text}, expected a size, for example "2 GiB"`);
  return bytes;
}

export async function listOrigins(options: { data: string; json?: boolean }): Promise<void> {
  const origins = await new ControlClient(options.data).get(ORIGINS, z.array(originSchema));
  printTable(
    origins,
    {
      name: (origin) => origin.name,
      hosts: (origin) => origin.hosts.join(', '),
      upstream: (origin) => origin.upstream,
      'named in': ({ source }) => (source === 'command' ? 'orilla origin add' : 'configuration'),
      'max vms': ({ offload }) => String(offload?.maxVms ?? '-'),
      'ssh keys': ({ offload }) => String(offload?.sshKeys ?? '-'),
      'application keys': ({ offload }) => String(offload?.applicationKeys ?? '-'),
      tokens: ({ offload, isRotating }) => (offload ? (isRotating ? 'old and new' : 'one') : '-'),
    },
    { ...options, empty: 'no origins: add one with "orilla origin add"' },
  );
}

export async function removeOrigin(name: string, options: { data: string }): Promise<void> {
  await new ControlClient(options.data).delete(pathOf(name));
  print(`removed ${name}`);
}

export async function rotateOrigin(
  name: string,
  options: { data: string; finish?: boolean; now?: boolean },
): Promise<void> {
  const step: RotationStep = options.now ? 'now' : options.finish ? 'finish' : 'begin';
  const { token } = await new ControlClient(options.data).post(
    `${pathOf(name)}/rotation`,
    { step },
    enrolmentSchema,
  );
  const said = {
    begin: `${name} has a second token; once its provider uses it: orilla origin rotate ${name} --finish`,
    finish: `${name} has its new token only; the old one is refused`,
    now: `${name} has a new token; the one before is refused`,
  };
  print(said[step]);
  if (token !== undefined) printToken(token);
}

/** On a line of its own, and the last one: `| tail -n 1` has it. */
function printToken(token: string): void {
  print('its token, shown this once:');
  print(token);
}

/** As the option that was wrong, rather than as a field of the request. */
function checkUsage(wanted: z.input<typeof newOriginSchema>): void {
  const result = newOriginSchema.safeParse(wanted, { reportInput: true });
  const [issue] = result.error?.issues ?? [];
  if (!issue) return;
  const option = OPTIONS[issue.path.filter((part) => typeof part === 'string').join('.')] ?? '<name>';
  const expected = issue.message.replace(/^(?:Invalid input|Too [a-z]+): /, '');
  // A private key that was named by mistake is not shown to whoever reads along.
  const got = KEY_OPTIONS.has(option) ? '' : `got ${JSON.stringify(issue.input)}: `;
  throw cliError('wrong_usage', `${option}: ${got}${expected}`);
}

const KEY_OPTIONS: ReadonlySet<string> = new Set(['--ssh-key', '--application-key']);

const OPTIONS: Readonly<Record<string, string>> = {
  hosts: '--host',
  upstream: '--upstream',
  'offload.maxVms': '--max-vms',
  'offload.imageHosts': '--image-host',
  'offload.sshKeys': '--ssh-key',
  'offload.applicationKeys': '--application-key',
};
