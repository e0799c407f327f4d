import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { temporaryFolder } from '../../../../test/support/temporary-folder.ts';
import { systemClock, systemRandom } from '../../../base/index.ts';
import { GuestAgent, resumeMessage } from './guest-agent.ts';

const random = { bytes: (count: number) => new Uint8Array(count).fill(7) };

describe('the message to a clone', () => {
  test('has the time, the seed, the generation and the name where the guest looks for them', () => {
    const message = resumeMessage('photos', 1_700_000_000_123.5, random);
    expect(message).toHaveLength(144);
    expect(message.readBigInt64LE(0)).toBe(1_700_000_000n);
    expect(message.readBigInt64LE(8)).toBe(123_500_000n);
    expect(message.subarray(16, 48)).toEqual(Buffer.alloc(32, 7));
    expect(message.toString('latin1', 48, 65)).toBe('7777777777777777\n');
    expect(message.readBigInt64LE(72)).toBe(6n);
    expect(message.toString('latin1', 80)).toBe('photos'.padEnd(64, '\0'));
  });

  test('has room for the longest name', () => {
    const message = resumeMessage('x'.repeat(63), 0, random);
    expect(message.readBigInt64LE(72)).toBe(63n);
    expect(message.toString('latin1', 80, 143)).toBe('x'.repeat(63));
  });

  test('is another one each time', () => {
    const [one, other] = [resumeMessage('photos', 0, systemRandom), resumeMessage('photos', 0, systemRandom)];
    expect(one.subarray(16, 48)).not.toEqual(other.subarray(16, 48));
    expect(one.subarray(48, 64)).not.toEqual(other.subarray(48, 64));
  });
});

describe('the agent', () => {
  const servers: Server[] = [];
  afterEach(() => {
    for (const server of servers.splice(0)) server.close();
  });
  const signal = () => AbortSignal.timeout(10_000);

  /** The guest's end of a port, and ours. */
  async function port(): Promise<{ guest: Socket; agent: GuestAgent }> {
    const path = join(await temporaryFolder(), 'agt');
    const connecting = GuestAgent.connect(systemClock, path, signal());
    const server = createServer().listen(path);
    servers.push(server);
    const [guest] = (await once(server, 'connection')) as [Socket];
    return { guest, agent: await connecting };
  }

  test('is heard also when it spoke before anybody listened, and in pieces', async () => {
    const { guest, agent } = await port();
    guest.write('orilla-agent 1\npau');
    await agent.hear('orilla-agent 1', signal());
    guest.write('sed\n');
    await agent.hear('paused', signal());
    agent.close();
  });

  test('that closes its port has not said it', async () => {
    const { guest, agent } = await port();
    guest.end('resume');
    await expect(agent.hear('resumed', signal())).rejects.toMatchObject({ code: 'machine_failed' });
  });

  test('that says something else without an end is waited for no longer than was said', async () => {
    const { guest, agent } = await port();
    guest.write('x'.repeat(100_000));
    await expect(agent.hear('resumed', AbortSignal.timeout(50))).rejects.toThrow('timeout');
    agent.close();
  });

  test('whose machine never makes a port is given up when the start is', async () => {
    const path = join(await temporaryFolder(), 'agt');
    await expect(GuestAgent.connect(systemClock, path, AbortSignal.timeout(50))).rejects.toThrow('timeout');
  });
});
