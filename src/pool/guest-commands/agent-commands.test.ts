import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { guestCommandsSuite } from '../../../test/support/guest-commands-suite.ts';
import { ProcessAgent } from '../../../test/support/process-agent.ts';
import { temporaryFolder } from '../../../test/support/temporary-folder.ts';
import { systemClock, systemRandom } from '../../base/index.ts';
import { AgentCommands } from './agent-commands.ts';

describe('commands by QEMU’s guest agent', () => {
  let agent: ProcessAgent;
  let commands: AgentCommands;
  beforeEach(async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, 'tmp'));
    agent = await ProcessAgent.listen(join(folder, 'qga'), folder);
    commands = new AgentCommands({ clock: systemClock, random: systemRandom }, join(folder, 'qga'));
  });
  afterEach(async () => {
    commands.close();
    await agent[Symbol.asyncDispose]();
  });

  guestCommandsSuite(() => commands);

  const echo = async () => {
    const { stdout } = await commands.exec(['echo', 'on'], { limitMs: 5000, outputLimitBytes: 100 });
    return Buffer.from(stdout).toString();
  };

  test('begins in step, whatever was left in the line by another', async () => {
    agent.interjections.push({ before: '{"return": 3}\n{"return": {"half": \xff' });
    expect(await echo()).toBe('on\n');
  });

  test('an agent that is started at the first word to it is spoken to again, and may answer twice', async () => {
    agent.unheard = 2;
    const late = '\xff{"return": 1}\n';
    agent.interjections.push({ before: late }, { before: late });
    expect(await echo()).toBe('on\n');
    expect(agent.unheard).toBe(0);
  });

  test.for([
    ['no JSON', 'hello\n'],
    ['null', 'null\n'],
    ['an answer of another form', '{"return": {"pid": "one"}}\n'],
    ['an error of another form', '{"error": 7}\n'],
  ])('a guest that says %s is told of, and the next answer is right', async ([, instead]) => {
    await commands.ping();
    agent.interjections.push({ instead: instead ?? '' });
    await expect(echo()).rejects.toMatchObject({ code: 'guest_command_failed' });
    expect(await echo()).toBe('on\n');
  });

  test('a guest whose answer has no end is hung up on, and nothing of it is kept', async () => {
    await commands.ping();
    agent.interjections.push({ instead: 'x'.repeat(200_000) });
    await expect(commands.ping()).rejects.toMatchObject({ code: 'guest_agent_missing' });
    expect(await echo()).toBe('on\n');
  });

  test('a guest that talks without being asked is brought back in step', async () => {
    await commands.ping();
    agent.interjections.push({ before: '', instead: '{"return": {}}\n{"return": {"pid": 1}}\n' });
    await commands.ping();
    expect(await echo()).toBe('on\n');
  });

  test('where nothing listens that is said', async () => {
    const nobody = new AgentCommands({ clock: systemClock, random: systemRandom }, '/nowhere/qga');
    await expect(nobody.ping()).rejects.toMatchObject({ code: 'guest_agent_missing', status: 503 });
  });
});
