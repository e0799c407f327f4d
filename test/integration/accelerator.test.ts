import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { systemClock } from '../../src/base/index.ts';
import { endProcess } from '../../src/platform/process/index.ts';
import { silentLog } from '../../src/platform/telemetry/index.ts';
import {
  AcceleratorProbe,
  type AcceleratorVerdict,
  confinementSupport,
  QemuHypervisor,
  type StoredImage,
} from '../../src/pool/index.ts';
import { probeHttp, untilReady } from '../../src/pool/readiness.ts';
import { QEMU_DEPS } from '../support/qemu-deps.ts';
import { machinesIn, PATIENCE_MS, RunningOrilla } from '../support/running-orilla.ts';
import { TestOrigin } from '../support/test-origin.ts';
import { needs, toolPath } from '../support/tools.ts';
import { VmApiClient } from '../support/vm-api-client.ts';
import { storedImage, webImage } from '../support/web-image.ts';

// What the machine of this test can do is not known beforehand: the probe's word is held against what then works.

/** Two boots of a kernel, each within the probe's own deadline of a minute. */
const PROBE_LIMIT_MS = 150_000;

needs('qemu-system-x86_64')('the accelerator probe, with a real kernel', () => {
  let folder: string;
  let image: StoredImage;
  let verdictPath: string;
  let runFolder: string;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'o-'));
    image = await storedImage(await webImage(), join(folder, 'images'));
    await writeObserver();
  });
  afterAll(async () => {
    await Promise.all(machinesIn(folder).map((machine) => endProcess(systemClock, machine, 0)));
    rmSync(folder, { recursive: true, force: true });
  });
  beforeEach(() => {
    verdictPath = join(folder, 'accelerator.json');
    runFolder = join(folder, 'run');
    vi.stubEnv('PATH', `${join(folder, 'bin')}${delimiter}${process.env['PATH']}`);
  });
  afterEach(() => vi.unstubAllEnvs());

  /** A QEMU that notes each of its boots, and has the version of the file `version` when there is one. */
  async function writeObserver(): Promise<void> {
    const program = `#!/bin/sh
case " $* " in
  *' --version '*) [ ! -r '${folder}/version' ] || exec cat '${folder}/version' ;;
  *' -kernel '*) echo "$@" >>'${folder}/boots' ;;
esac
exec '${toolPath('qemu-system-x86_64')}' "$@"
`;
    await mkdir(join(folder, 'bin'));
    // A confined machine's own user runs it too.
    await chmod(folder, 0o711);
    await writeFile(join(folder, 'boots'), '');
    await chmod(join(folder, 'boots'), 0o666);
    await writeFile(join(folder, 'bin', 'qemu-system-x86_64'), program, { mode: 0o755 });
  }
  const boots = () => readFileSync(join(folder, 'boots'), 'utf8').split('\n').length - 1;
  const probe = () =>
    new AcceleratorProbe({ clock: systemClock, log: silentLog }, verdictPath, runFolder, true);
  const choose = () => probe().choose(image, AbortSignal.timeout(PROBE_LIMIT_MS));

  test('chooses one that boots a guest, and says why', async () => {
    const verdict = await choose();
    expect(verdict.reason).toMatch(
      verdict.accelerator === 'kvm' ? /^KVM boots a kernel in / : /TCG boots it in |\/dev\/kvm/,
    );
    const hypervisor = new QemuHypervisor(
      { ...QEMU_DEPS, chooseAccelerator: async () => verdict.accelerator },
      runFolder,
    );
    const spec = {
      name: 'chosen',
      image,
      configuration: { cpus: 1, memoryBytes: 2 ** 28, diskBytes: 0 },
    };
    const machine = await hypervisor.start(spec, AbortSignal.timeout(PATIENCE_MS), async () => undefined);
    try {
      expect(machine.accelerator).toBe(verdict.accelerator);
      await untilReady(systemClock, probeHttp, machine.addresses[0], '/', AbortSignal.timeout(PATIENCE_MS));
    } finally {
      await machine.stop();
    }
  });

  test.runIf(mayOpenKvm())(
    'keeps its verdict for the next process, and measures anew for another QEMU',
    async () => {
      const first = await choose();
      const measured = boots();
      expect(measured).toBeGreaterThanOrEqual(2);
      expect(await choose()).toEqual(first);
      expect(await probe().kept()).toEqual(first);
      expect(boots()).toBe(measured);

      await writeFile(join(folder, 'version'), 'QEMU emulator version 999.0\n');
      expect(await probe().kept()).toBeUndefined();
      const second = await choose();
      expect(boots()).toBe(measured + 2);
      expect(second.key).not.toBe(first.key);
      expect(JSON.parse(await readFile(verdictPath, 'utf8'))).toEqual(second);
    },
  );

  test('does not believe a verdict of another host, nor a file that is none', async () => {
    const foreign: AcceleratorVerdict = {
      accelerator: 'kvm',
      reason: 'it was quick there',
      key: 'elsewhere',
    };
    for (const text of [JSON.stringify(foreign), '{"accelerator":', '[]', '']) {
      await writeFile(verdictPath, text);
      expect(await probe().kept()).toBeUndefined();
    }
  });

  test.runIf(mayOpenKvm())('runs its QEMU as machines run: confined, where that can be', async () => {
    rmSync(verdictPath, { force: true });
    const support = await confinementSupport();
    const calledOff = new AbortController();
    const choosing = probe().choose(image, calledOff.signal);
    const running = () =>
      machinesIn(runFolder).map(({ pid }) => readFileSync(`/proc/${pid}/status`, 'utf8'))[0] ?? '';
    await expect.poll(running, { timeout: PATIENCE_MS, interval: 20 }).toMatch(/^Seccomp:\s+2$/m);
    if (support.isConfined) {
      expect(running()).toMatch(/^Uid:\s+19\d{8}\s/m);
      expect(running()).toMatch(/^CapEff:\s+0+$/m);
    }
    calledOff.abort(new Error('called off'));
    await expect(choosing).rejects.toThrow('called off');
    await expect.poll(() => readdirSync(runFolder), { timeout: PATIENCE_MS }).toEqual([]);
  });

  test.runIf(mayOpenKvm())('boots no kernel of an image that an origin brought in software', async () => {
    const cautious = new AcceleratorProbe(
      { clock: systemClock, log: silentLog },
      join(folder, 'cautious.json'),
      runFolder,
      false,
    );
    const measured = boots();
    const { accelerator, reason } = await cautious.choose(image, AbortSignal.timeout(PROBE_LIMIT_MS));
    expect(boots()).toBe(measured + 1);
    expect(reason).toMatch(
      accelerator === 'kvm' ? /^KVM boots .*TCG: not tried/ : /^KVM does not boot .*TCG: not tried/,
    );
  });

  test.runIf(mayOpenKvm())(
    'called off by one who asked, it goes on for the others, and leaves no QEMU',
    async () => {
      rmSync(verdictPath, { force: true });
      const shared = probe();
      const calledOff = new AbortController();
      const first = shared.choose(image, calledOff.signal);
      const second = shared.choose(image, AbortSignal.timeout(PROBE_LIMIT_MS));
      await expect.poll(() => machinesIn(runFolder).length, { timeout: PATIENCE_MS }).toBe(1);
      calledOff.abort(new Error('called off'));
      await expect(first).rejects.toThrow('called off');
      expect((await second).reason).toMatch(/boots/);
      await expect.poll(() => machinesIn(runFolder), { timeout: PATIENCE_MS }).toEqual([]);
    },
  );

  test.runIf(mayOpenKvm())('whose process is killed leaves a QEMU that the next process ends', async () => {
    const child = probeInChild();
    await expect.poll(() => machinesIn(join(folder, 'killed')).length, { timeout: PATIENCE_MS }).toBe(1);
    child.kill('SIGKILL');
    await once(child, 'close');
    const next = new QemuHypervisor(QEMU_DEPS, join(folder, 'killed'));
    // It may have come to its end by itself.
    expect((await next.takeOver()).endedCount).toBeLessThanOrEqual(1);
    expect(machinesIn(join(folder, 'killed'))).toEqual([]);
  });

  test.runIf(mayOpenKvm())(
    'SIGTERM while it runs ends `orilla up` with status 0, and no QEMU is left',
    async () => {
      await using origin = await TestOrigin.start();
      origin.images['web'] = (await webImage()).folder;
      await using orilla = await RunningOrilla.start({
        origins: { photos: { port: origin.port } },
        pool: { accelerator: 'auto' },
      });
      await new VmApiClient(orilla, 'photos').load({ name: 'web', imageRef: origin.imageUrl('web') });
      await orilla.until('the probe runs', () => machinesIn(orilla.data).length > 0 || undefined);
      expect(await orilla.stop()).toMatchObject({ code: 0, stderr: '' });
      await expect.poll(() => machinesIn(orilla.data), { timeout: PATIENCE_MS }).toEqual([]);
    },
  );

  function probeInChild(): ChildProcess {
    const source = (path: string) => pathToFileURL(join(import.meta.dirname, '..', '..', 'src', path)).href;
    const program = `
      const { AcceleratorProbe } = await import('${source('pool/index.ts')}');
      const { systemClock } = await import('${source('base/index.ts')}');
      const { silentLog } = await import('${source('platform/telemetry/index.ts')}');
      const [image, verdictPath, runFolder] = process.argv.slice(1);
      await new AcceleratorProbe({ clock: systemClock, log: silentLog }, verdictPath, runFolder, true)
        .choose(JSON.parse(image), new AbortController().signal);`;
    const args = [JSON.stringify(image), join(folder, 'killed.json'), join(folder, 'killed')];
    const child = spawn(process.execPath, ['--input-type=module', '-e', program, ...args], {
      stdio: 'inherit',
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    return child;
  }
});

function mayOpenKvm(): boolean {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
