import { resolve } from 'node:path';
import {
  defineErrors,
  formatBytes,
  formatDuration,
  parseDurationMs,
  systemClock,
  systemRandom,
} from '../base/index.ts';
import { dataFolder } from '../edge/index.ts';
import { ApplicationStore, fileSource, operatorUrlSource } from '../pool/index.ts';
import { execOutcomeSchema, type Operation, operationSchema, vmSchema } from '../pool/schema.ts';
import { ControlClient } from './control-client.ts';
import { ProgressLine, plainText, print } from './output.ts';

const cliError = defineErrors({ wrong_usage: 400, deploy_failed: 502 });

/** What the answer may take beyond the program itself. */
const GRACE_MS = 30_000;
const LOOK_INTERVAL_MS = 100;

const pathOf = (name: string): string => `/api/v1/vms/${encodeURIComponent(name)}`;

/** `orilla vm exec`: our output and our exit status are the program's. */
export async function execInVm(
  name: string,
  argv: readonly string[],
  options: { data: string; limit: string },
): Promise<void> {
  const limitMs = parseDurationMs(options.limit);
  if (limitMs === undefined || limitMs < 1 || limitMs > 600_000) {
    throw cliError(
      'wrong_usage',
      `--limit: got "${options.limit}", expected up to 10 min, for example "90 s"`,
    );
  }
  const client = new ControlClient(options.data);
  const outcome = await client.post(
    `${pathOf(name)}/exec`,
    { argv, limitMs },
    execOutcomeSchema,
    limitMs + GRACE_MS,
  );
  pass(process.stdout, outcome.stdout);
  pass(process.stderr, outcome.stderr);
  if (outcome.truncated) process.stderr.write('orilla: its output is longer, and was cut\n');
  process.exitCode = outcome.status;
}

/** `orilla vm deploy`: brings the application here, and waits until it answers in the VM. */
export async function deployToVm(name: string, source: string, options: { data: string }): Promise<void> {
  const client = new ControlClient(options.data);
  // Told before it is fetched, not after.
  await client.get(pathOf(name), vmSchema);
  const store = new ApplicationStore(
    { clock: systemClock, random: systemRandom },
    dataFolder(resolve(options.data)).applications,
  );
  const progress = new ProgressLine();
  const startMs = systemClock.monotonicMs();
  try {
    const application = await store.import(sourceOf(source), {
      signal: new AbortController().signal,
      onProgress: (doneBytes) => progress.show(`bringing ${source}  ${formatBytes(doneBytes)}`),
    });
    const { manifest, digest } = application;
    const what = `${manifest.name} ${manifest.version}`;
    progress.show(`putting ${what} into ${name}`);
    const body = { applicationRef: digest };
    let operation = await client.post(`${pathOf(name)}/application`, body, operationSchema);
    while (operation.status === 'running') {
      await systemClock.sleep(LOOK_INTERVAL_MS);
      operation = await client.get(`${pathOf(name)}/operations/${operation.id}`, operationSchema);
    }
    progress.end();
    checkSucceeded(operation);
    const tookMs = systemClock.monotonicMs() - startMs;
    print(`${what} runs in ${name}  ${digest}  (${formatDuration(tookMs)})`);
  } finally {
    progress.end();
  }
}

/** `orilla vm withdraw`: what the image serves is back. */
export async function withdrawFromVm(name: string, options: { data: string }): Promise<void> {
  const client = new ControlClient(options.data);
  await client.delete(`${pathOf(name)}/application`);
  print(`${name} goes back to what its image serves`);
}

function sourceOf(source: string) {
  if (!/^https?:\/\//.test(source)) return fileSource(resolve(source));
  if (URL.canParse(source)) return operatorUrlSource(systemClock, new URL(source));
  throw cliError('wrong_usage', `got "${source}", expected a file or its URL`);
}

function checkSucceeded({ status, reason }: Operation): void {
  if (status === 'succeeded') return;
  throw cliError(
    'deploy_failed',
    `${status === 'cancelled' ? 'called off' : 'not put in'}: ${reason ?? 'for no known reason'}`,
  );
}

/** As it is for a program or a file; for a person without what would move the cursor. */
function pass(stream: NodeJS.WriteStream, base64: string): void {
  const octets = Buffer.from(base64, 'base64');
  stream.write(stream.isTTY ? plainText(octets.toString('utf8')) : octets);
}
