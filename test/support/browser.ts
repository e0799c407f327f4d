import { type Browser, chromium } from 'playwright-core';
import { toolPath } from './tools.ts';

/** Chromium without a window, and without any traffic of its own. */
export function launchBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: toolPath('chromium') ?? '',
    args: [
      '--no-sandbox', // CI runs as root, where Chromium's own sandbox cannot be had; only our own pages are opened.
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}
