import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ProcessAgent } from '../../test/support/process-agent.ts';
import { temporaryFolder } from '../../test/support/temporary-folder.ts';
import { SMALL, startTestPool, untilVm } from '../../test/support/test-pool.ts';
import { systemClock, systemRandom } from '../base/index.ts';
import { packApplication } from './applications/application-archive.ts';
import { AgentCommands } from './guest-commands/agent-commands.ts';

const LIMITS = { limitMs: 10_000, outputLimitBytes: 1000 };

describe('the guests of a pool', () => {
  let folder: string;
  let running: Awaited<ReturnType<typeof startTestPool>>;
  let agent: ProcessAgent;
  let commands: AgentCommands | undefined;
  beforeEach(async () => {
    folder = await temporaryFolder();
    running = await startTestPool(folder);
    agent = await ProcessAgent.listen(join(folder, 'qga'), folder);
  });
  afterEach(async () => {
    await running.close();
    commands?.close();
    await agent[Symbol.asyncDispose]();
  });

  async function startVm(hasAgent = true): Promise<void> {
    const { pool, hypervisor } = running;
    if (hasAgent) {
      commands = new AgentCommands({ clock: systemClock, random: systemRandom }, join(folder, 'qga'));
      hypervisor.commandsOf = () => commands!;
    }
    await pool.create({ name: 'photos', owner: 'photos', imageRef: 'photos', configuration: SMALL });
    await untilVm(pool, 'photos', ({ phase }) => phase === 'ready');
  }
  const exec = (...argv: string[]) => running.pool.exec('photos', argv, LIMITS);
  async function provide(): Promise<string> {
    const manifest = { format: 'orilla.application/1', name: 'notes', version: '1', static: '.' };
    await mkdir(join(folder, 'notes'));
    await writeFile(join(folder, 'notes', 'application.json'), JSON.stringify(manifest));
    const { archive } = await packApplication(join(folder, 'notes'));
    await writeFile(join(folder, 'provided', 'notes.tar'), archive);
    return 'notes.tar';
  }

  test('run programs for whoever may ask', async () => {
    await startVm();
    const { stdout } = await exec('echo', 'from inside');
    expect(Buffer.from(stdout).toString()).toBe('from inside\n');
    await expect(running.pool.exec('films', ['true'], LIMITS)).rejects.toMatchObject({
      code: 'vm_not_found',
    });
  });

  test('run sixteen programs at once, and no more', async () => {
    await startVm();
    const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => exec('sleep', '0.2')));
    const refused = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []));
    expect(refused).toHaveLength(4);
    expect(refused[0]).toMatchObject({ code: 'guest_busy', status: 503 });
    expect(await exec('true')).toMatchObject({ status: 0 });
  });

  test('without an agent say so', async () => {
    await startVm(false);
    await expect(exec('true')).rejects.toMatchObject({ code: 'guest_agent_missing' });
  });

  test('of an image that takes no applications get none, and the VM serves on', async () => {
    await startVm();
    const { pool } = running;
    const wanted = {
      vm: 'photos',
      owner: 'photos',
      applicationRef: await provide(),
      authority: 'operator',
    } as const;
    const operation = await pool.deploy(wanted);
    expect(await pool.settled(operation, AbortSignal.timeout(10_000))).toMatchObject({
      kind: 'deploy',
      status: 'failed',
      reason: expect.stringContaining('takes no applications'),
    });
    expect(pool.get('photos')).toMatchObject({ phase: 'ready', restarts: 0 });
    expect(pool.get('photos')).not.toHaveProperty('application');
    expect(pool.get('photos')).not.toHaveProperty('deployment');
  });

  test('are changed by their owner only', async () => {
    await startVm();
    const { pool } = running;
    const wanted = { vm: 'photos', owner: 'films', applicationRef: 'a.tar', authority: 'operator' } as const;
    await expect(pool.deploy(wanted)).rejects.toMatchObject({ code: 'vm_not_found' });
    await expect(pool.withdrawApplication('photos', 'films')).rejects.toMatchObject({ code: 'vm_not_found' });
    await expect(pool.withdrawApplication('photos', 'photos')).rejects.toMatchObject({
      code: 'application_not_found',
    });
    const missing = pool.deploy({ ...wanted, owner: 'photos', applicationRef: `sha256:${'0'.repeat(64)}` });
    await expect(missing).rejects.toMatchObject({ code: 'application_not_found' });
  });
});
