import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { systemClock, systemRandom } from '../../src/base/index.ts';
import { dataFolder, Edge, parseEdgeConfig } from '../../src/edge/index.ts';
import type { Status } from '../../src/edge/schema.ts';
import { silentLog } from '../../src/platform/telemetry/index.ts';
import { launchBrowser } from '../support/browser.ts';
import { exchange } from '../support/raw-http.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { needs } from '../support/tools.ts';

const CONFIG = `
gateway:
  listen: 0
  edgeDomain: edge.example
  api: { listen: 0 }
  origins:
    photos: { hosts: [photos.example], upstream: "http://127.0.0.1:9" }
control: { listen: 0 }
`;

const vm = {
  name: 'photos',
  owner: 'photos',
  phase: 'ready',
  version: 1,
  imageRef: 'http://192.0.2.7/images/photos',
  imageDigest: `sha256:${'4b'.repeat(32)}`,
  configuration: { cpus: 1, memoryBytes: 2 ** 27, diskBytes: 0 },
  ownerNote: '',
  createdAtMs: 0,
  sinceMs: 0,
  restarts: 2,
  lastStart: { fetchMs: 230, prepareMs: 2, bootMs: 1700, totalMs: 1932, origin: 'boot' },
  accelerator: 'tcg',
} as const;

/**
 * An edge in the middle of its day: one VM serves, one was given up, with a reason that has no good place to break, one sleeps,
 * and one is not there yet.
 */
const BUSY: Status = {
  version: '0.1.0',
  startedAtMs: 0,
  ready: true,
  gatewayPort: 8080,
  apiPort: 8081,
  edgeDomain: 'edge.example',
  origins: [
    {
      name: 'photos',
      hosts: ['photos.example', 'www.a-rather-long-name-of-a-photo-site.example'],
      upstream: 'http://192.0.2.7:9000',
      mayOffload: true,
      offload: 'ready',
      servedBy: ['vm/photos'],
      requests: { origin: 250_000, vm: 750_000, gateway: 3 },
      bytes: { origin: 2 ** 30, vm: 2 ** 33 },
      firstByteMs: { origin: 48.25, vm: 3.1 },
      replays: 17,
    },
  ],
  vms: [
    vm,
    {
      ...vm,
      name: 'news',
      phase: 'failed',
      reason: `sha256:${'0'.repeat(64)} <b>is not</b> sha256:${'1'.repeat(64)}`,
    },
    {
      ...vm,
      name: 'films',
      phase: 'suspended',
      suspendedBy: 'idleness',
      lastStart: { fetchMs: 4, prepareMs: 1, bootMs: 36, totalMs: 41, origin: 'warm' },
      application: { name: 'subtitles', version: '2.1', digest: `sha256:${'5c'.repeat(32)}` },
      failedVersion: {
        version: 3,
        imageRef: 'http://192.0.2.7/images/films',
        reason: `the guest did not answer within 60 s, ${'and it should have done so '.repeat(3)}`,
      },
    },
    {
      ...vm,
      name: 'maps',
      phase: 'fetching',
      progress: { doneBytes: 2 ** 20, totalBytes: 4 * 2 ** 20 },
      lastStart: undefined,
    },
  ],
};

needs('chromium')('the status page', () => {
  let edge: Edge;
  let browser: Browser;
  let context: BrowserContext | undefined;
  let url: string;

  beforeAll(async () => {
    browser = await launchBrowser();
  });
  afterAll(() => browser?.close());

  beforeEach(async () => {
    const folder = await temporaryFolder();
    const deps = { clock: systemClock, random: systemRandom, log: silentLog, version: '0.1.0' };
    edge = await Edge.start(deps, parseEdgeConfig(CONFIG, 'test.yaml', folder), dataFolder(folder));
    url = `http://127.0.0.1:${edge.controlPort}/`;
  });
  afterEach(async () => {
    await context?.close();
    await edge.close();
  });

  async function open(
    look: { width: number; scheme?: 'light' | 'dark' },
    status?: Status,
  ): Promise<{ page: Page; complaints: string[] }> {
    context = await browser.newContext({
      viewport: { width: look.width, height: 800 },
      colorScheme: look.scheme ?? 'light',
    });
    const page = await context.newPage();
    const complaints: string[] = [];
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(error.message));
    if (status) await page.route('**/api/v1/status', (route) => route.fulfill({ json: status }));
    await page.goto(url);
    await page.getByText('up since').waitFor();
    return { page, complaints };
  }

  test('shows an edge that has just started: its sites, and that there is no VM yet', async () => {
    const { page, complaints } = await open({ width: 1280 });
    expect(await page.getByRole('heading', { level: 3 }).allTextContents()).toEqual([
      'photosserved by origin',
    ]);
    await page.getByText('No VM yet').waitFor();
    await page.getByText('photos.example → http://127.0.0.1:9').waitFor();
    expect(complaints).toEqual([]);
  });

  test.for([
    { width: 1280, scheme: 'light' },
    { width: 1280, scheme: 'dark' },
    { width: 390, scheme: 'light' },
    { width: 390, scheme: 'dark' },
  ] as const)('shows who serves, what it saved and what failed at $width px, $scheme', async (look) => {
    const { page, complaints } = await open(look, BUSY);
    await page.getByText('served by vm/photos').waitFor();
    await page.getByRole('img', { name: '75 % of requests served at the edge' }).waitFor();
    await page.getByText('8.0 GiB').waitFor();
    await page.getByText('3.1 ms / 48.3 ms').waitFor();
    await page.getByText('<b>is not</b>').waitFor();
    await page.getByText('1.9 s, booted').first().waitFor();
    await page.getByText('41 ms, warm clone').waitFor();
    expect(await page.locator('#vms .badge').allTextContents()).toEqual([
      'ready',
      'failed',
      'asleep',
      'fetching its image, 25 %',
    ]);
    await page.getByText('subtitles 2.1').waitFor();
    await page.getByText('version 3 failed: the guest did not answer').waitFor();
    expect(await page.getByRole('link', { name: 'photos.edge.example:8080' }).getAttribute('href')).toBe(
      'http://photos.edge.example:8080/',
    );
    const overflow = await page.evaluate('document.documentElement.scrollWidth - window.innerWidth');
    expect(overflow).toBeLessThanOrEqual(0);
    const brightness = (property: string) =>
      page.evaluate(`Number(/\\d+/.exec(getComputedStyle(document.body).${property})[0])`);
    const [ground, ink] = [await brightness('backgroundColor'), await brightness('color')];
    expect(Number(ground) < Number(ink)).toBe(look.scheme === 'dark');
    expect(complaints).toEqual([]);
  });

  test('is used by keyboard alone: skip link, then each link in turn, all of them seen to have the focus', async () => {
    const { page } = await open({ width: 1280 }, BUSY);
    const focused =
      'const { outlineStyle } = getComputedStyle(document.activeElement);' +
      "`${document.activeElement.textContent} ${outlineStyle === 'none' ? 'unseen' : 'seen'}`";
    const seen: unknown[] = [];
    for (let i = 0; i < 8; i += 1) {
      await page.keyboard.press('Tab');
      seen.push(await page.evaluate(focused));
    }
    expect(seen[0]).toBe('Skip to the content seen');
    expect(seen.slice(-3)).toEqual(['Metrics seen', 'Readiness seen', 'API seen']);
  });

  test('says so when the edge does not answer any more', async () => {
    const { page } = await open({ width: 1280 });
    await page.route('**/api/v1/status', (route) => route.abort());
    await page.getByText('does not answer').waitFor();
  });

  test('lets nothing run in it but its own files, and answers to its own name only', async () => {
    const answer = await fetch(url);
    expect(answer.headers.get('content-security-policy')).toContain("default-src 'none'; script-src 'self'");
    expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
    const rebound = await exchange(
      edge.controlPort,
      'GET / HTTP/1.1\r\nHost: attacker.example\r\nConnection: close\r\n\r\n',
    );
    expect(rebound).toContain('421 Misdirected Request');
  });
});
