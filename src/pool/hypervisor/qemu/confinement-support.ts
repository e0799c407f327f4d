import { spawn } from 'node:child_process';
import { confinedCommand, LINK_TAKEN_STATUS } from './confinement.ts';
import { linksFor } from './machine-link.ts';

/** Whether machines can be confined on this host; if not, why. */
export type ConfinementSupport =
  | { readonly isConfined: true }
  | { readonly isConfined: false; readonly reason: string };

const LINK_ATTEMPTS = 16;

/** Finds out by doing it, with a program that ends at once in place of QEMU. */
export async function confinementSupport(): Promise<ConfinementSupport> {
  if (process.getuid?.() !== 0) {
    return { isConfined: false, reason: 'only root may make network namespaces' };
  }
  for (const link of linksFor(`trial ${process.pid}`, LINK_ATTEMPTS)) {
    const confinement = { link, port: 80, hostPid: process.pid, needsKvm: false };
    const { status, lastWords } = await attempt(confinedCommand(confinement, ['true']));
    if (status === 0) return { isConfined: true };
    if (status !== LINK_TAKEN_STATUS) return { isConfined: false, reason: lastWords };
  }
  return { isConfined: false, reason: `${LINK_ATTEMPTS} links in a row are taken` };
}

function attempt([program, args]: [string, string[]]): Promise<{ status: number; lastWords: string }> {
  return new Promise((resolve) => {
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-500);
    });
    child.once('error', ({ message }) => resolve({ status: -1, lastWords: message }));
    child.once('close', (status) => {
      const lastWords = said.trim().split('\n').at(-1) || `${program} ended with status ${status}`;
      resolve({ status: status ?? -1, lastWords });
    });
  });
}
