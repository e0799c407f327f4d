import { mkdir, symlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { freePortOffset } from '../support/free-ports.ts';
import { OrillaCommand, STACK_TRACE } from '../support/orilla-command.ts';
import { machinesIn } from '../support/running-orilla.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { needs } from '../support/tools.ts';
import { testCache } from '../support/web-image.ts';

needs('qemu-system-x86_64', 'apt-get')('orilla demo --check', () => {
  test('takes the whole tour, twice on the same data, and leaves nothing running [gateway G10]', async () => {
    const data = join(await temporaryFolder(), 'data');
    await mkdir(data);
    // The Debian packages are fetched once for all tests.
    await symlink(testCache(), join(data, 'cache'));
    const offset = await freePortOffset();
    for (const visit of ['the first', 'the second']) {
      const demo = new OrillaCommand(['demo', '--check', '--data', data, '--port-offset', `${offset}`]);
      onTestFinished(async () => {
        demo.child.kill('SIGTERM');
        await demo.ended;
      });
      const tour = await demo.ended;
      expect(tour, `${visit}: ${tour.stderr}`).toMatchObject({ code: 0 });
      expect(tour.stdout).toMatch(/^1 {2}the first request is answered by the origin/m);
      expect(tour.stdout).toMatch(/^2 {2}the origin saw the tag and asked for a VM/m);
      expect(tour.stdout).toMatch(/^3 {2}the next 50 requests are answered by the VM, 0 B to the origin/m);
      expect(tour.stdout).toMatch(/^4 {2}the VM has a name of its own/m);
      expect(tour.stdout).toMatch(/^5 {2}its VM killed, the site goes on: \d+ requests, none failed/m);
      expect(tour.stdout).toMatch(
        /^ {3}image there after .*, (?:cloned from the template|woken from a warm clone|booted) in/m,
      );
      expect(tour.stdout).toMatch(/^6 {2}suspended in .* resumed in .*, the VM serves again, as it was$/m);
      expect(tour.stdout).toMatch(/everything went as it should\n$/);
      expect(tour.stderr).not.toMatch(STACK_TRACE);
      expect(machinesIn(data)).toEqual([]);
      for (const port of [8080, 8081, 8088, 9000])
        expect(await isListening(port + offset), `port ${port + offset}`).toBe(false);
    }
  });
});

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}
