import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { launchBrowser } from '../support/browser.ts';
import { needs } from '../support/tools.ts';

const ORIGIN = join(import.meta.dirname, '..', '..', 'examples', 'origin', 'origin.ts');
const PICTURES = 9;

needs('chromium')('the photo site', () => {
  let origin: ChildProcess;
  let url: string;
  let browser: Browser;
  let context: BrowserContext | undefined;

  beforeAll(async () => {
    const program = spawn(process.execPath, [ORIGIN, '--port', '0'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    origin = program;
    let log = '';
    program.stdout.on('data', (chunk: Buffer) => {
      log += chunk.toString();
    });
    await vi.waitFor(() => expect(log).toContain(' at http://'), 20_000);
    url = / at (http:\S+)/.exec(log)?.[1] ?? '';
    browser = await launchBrowser();
  });

  afterEach(async () => {
    for (const page of context?.pages() ?? []) await page.unrouteAll({ behavior: 'ignoreErrors' });
    await context?.close();
    context = undefined;
  });

  afterAll(async () => {
    await browser?.close();
    const ended = once(origin, 'exit');
    origin.kill();
    await ended;
  });

  /** @param servedBy what a gateway in between would write to each answer. */
  async function open(
    look: { width: number; height: number; scheme: 'light' | 'dark' },
    servedBy?: string,
  ): Promise<{ page: Page; complaints: string[] }> {
    const { width, height, scheme } = look;
    context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme });
    const page = await context.newPage();
    const complaints: string[] = [];
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('requestfailed', (request) => {
      // Chromium reports every HEAD as aborted when its headers are there: it has no body to finish.
      if (request.method() !== 'HEAD') complaints.push(`failed: ${request.url()}`);
    });
    page.on('request', (request) => {
      if (!request.url().startsWith(url) && !request.url().startsWith('data:'))
        complaints.push(request.url());
    });
    if (servedBy !== undefined) {
      await page.route(url, async (route) => {
        const response = await route.fetch();
        await route.fulfill({ response, headers: { ...response.headers(), 'orilla-served-by': servedBy } });
      });
    }
    await page.goto(url);
    return { page, complaints };
  }

  /** The width of an image's own pixels; `false` while they are still on their way. */
  function loadedWidth(page: Page, selector: string): Promise<unknown> {
    const image = `document.querySelector(${JSON.stringify(selector)})`;
    return page.evaluate(`${image}.complete && ${image}.naturalWidth`);
  }

  test.for([
    { width: 1280, height: 860, scheme: 'light' },
    { width: 1280, height: 860, scheme: 'dark' },
    { width: 390, height: 844, scheme: 'light' },
    { width: 390, height: 844, scheme: 'dark' },
  ] as const)('fits $width px in its $scheme dress and shows every picture', async (look) => {
    const { page, complaints } = await open(look);
    const pictures = page.locator('.grid img');
    expect(await pictures.count()).toBe(PICTURES);
    for (const [index, picture] of (await pictures.all()).entries()) {
      await picture.scrollIntoViewIfNeeded(); // The lower ones are fetched when they come near.
      await expect
        .poll(() => loadedWidth(page, `.grid li:nth-child(${index + 1}) img`), { timeout: 10_000 })
        .toBe(1200);
      expect(await picture.getAttribute('alt')).toMatch(/\w+ \w+/);
    }

    const widths = await page.evaluate<number[]>('[document.documentElement.scrollWidth, innerWidth]');
    expect(widths[0]).toBeLessThanOrEqual(widths[1] ?? 0);
    const paper = await page.evaluate<string>('getComputedStyle(document.body).backgroundColor');
    const red = Number(/\d+/.exec(paper)?.[0]);
    expect(look.scheme === 'dark' ? red < 60 : red > 200).toBe(true);
    expect(complaints).toEqual([]);
  });

  test.for([
    [undefined, 'Served directly'],
    ['origin', 'Served by: origin'],
    ['vm/photos', 'Served by: vm/photos at the edge'],
  ] as const)('says, where the gateway writes "%s", "%s" and how long it took', async ([servedBy, text]) => {
    const { page } = await open({ width: 390, height: 844, scheme: 'light' }, servedBy);
    await expect.poll(() => page.locator('#served-by').textContent(), { timeout: 10_000 }).toBe(text);
    expect(await page.locator('#served-in').textContent()).toMatch(/^\d+ ms$/);
    expect(await page.locator('#served-by').getAttribute('aria-live')).toBe('polite');
    const box = await page.locator('.badge').boundingBox();
    expect(box?.x).toBeGreaterThanOrEqual(0);
    expect((box?.x ?? 0) + (box?.width ?? 0)).toBeLessThanOrEqual(390);
  });

  test('shows its pictures large, by keyboard alone', async () => {
    const { page, complaints } = await open({ width: 1280, height: 860, scheme: 'light' });
    const lightbox = page.locator('#lightbox');
    const shown = () => lightbox.locator('img').getAttribute('src');
    const caption = () => lightbox.locator('figcaption').textContent();

    await page.keyboard.press('Tab');
    expect(await page.evaluate('document.activeElement.textContent')).toBe('Skip to the pictures');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await expect.poll(() => lightbox.isVisible()).toBe(true);
    expect(await shown()).toContain('first-light.jpg');
    expect(await caption()).toBe(`First light (1 of ${PICTURES})`);

    await page.keyboard.press('ArrowRight');
    expect(await caption()).toContain(`(2 of ${PICTURES})`);
    await page.keyboard.press('ArrowLeft');
    await page.keyboard.press('ArrowLeft');
    expect(await caption()).toBe(`Moonrise (${PICTURES} of ${PICTURES})`);
    await expect.poll(() => loadedWidth(page, '#lightbox img')).toBe(1200);

    await page.keyboard.press('Escape');
    await expect.poll(() => lightbox.isVisible()).toBe(false);
    // Whoever looked through the pictures goes on from the last one.
    await expect
      .poll(() => page.evaluate('document.activeElement.getAttribute("href")'))
      .toBe('photos/moonrise.jpg');
    expect(complaints).toEqual([]);
  });
});
