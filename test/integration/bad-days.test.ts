import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { seededNumbers } from '../../bench/support/traffic.ts';
import { BadDays } from '../support/bad-days/bad-days.ts';
import { GuardedOrilla } from '../support/bad-days/guarded-orilla.ts';
import { TriedVm } from '../support/bad-days/tried-vm.ts';
import { Visitors } from '../support/bad-days/visitors.ts';
import { TestOrigin } from '../support/test-origin.ts';
import { needs } from '../support/tools.ts';
import { variantOf, type WebImage, webImage } from '../support/web-image.ts';

/** How many operations there are, for whoever wants to know more than a test can show. */
const OPERATIONS = Number(process.env['ORILLA_BAD_DAYS'] ?? 60);
/** The same choices for the same seed; what comes of them depends on the moment. */
const SEED = Number(process.env['ORILLA_BAD_DAYS_SEED'] ?? Math.floor(Math.random() * 1e9));
const STEPS_BETWEEN_RESTS = 10;
const WORKERS = 2;
const DISK_BYTES = 2 ** 20;
const LIMIT_MS = 240_000 + OPERATIONS * 10_000;

needs('qemu-system-x86_64')('an Orilla whose processes are killed at any moment', () => {
  let image: WebImage;
  let folder: string;
  let origin: TestOrigin;

  beforeAll(async () => {
    image = await webImage();
    folder = mkdtempSync(join(tmpdir(), 'o-'));
    origin = await TestOrigin.start();
    const other = await variantOf(image, join(folder, 'other'), (manifest) => ({
      ...manifest,
      name: 'other',
    }));
    origin.images['web'] = image.folder;
    origin.images['other'] = other.folder;
  });
  afterAll(async () => {
    await origin?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  test(
    `does all that it answered, has no VM twice, and leaves nothing behind (seed ${SEED})`,
    async () => {
      const { port } = origin;
      const options = {
        folder,
        gateway: { workers: WORKERS },
        origins: { photos: { port }, films: { port } },
      };
      await using orilla = await GuardedOrilla.start(options);
      const vmOf = (from: string, count: number) =>
        new TriedVm(orilla, {
          name: `${from}${count}`,
          origin: from,
          diskBytes: count % 2 === 0 ? 0 : DISK_BYTES,
          images: [origin.imageUrl('web'), origin.imageUrl('other')],
        });
      const vms = [vmOf('photos', 1), vmOf('photos', 2), vmOf('films', 1), vmOf('films', 2)];
      await using visitors = new Visitors(() => orilla.current, ['photos', 'films']);
      const days = new BadDays({ orilla, vms, visitors, random: seededNumbers(SEED) });
      try {
        let count = 0;
        for (let step = 1; count < OPERATIONS; step += 1) {
          count += await days.step();
          if (step % STEPS_BETWEEN_RESTS === 0) await days.rest();
          expect(days.faults).toEqual([]);
        }
        await days.rest();
        await days.untilOrder(WORKERS);
        expect(days.faults).toEqual([]);
      } catch (error) {
        const log = orilla.log.slice(-60).map((record) => JSON.stringify(record));
        const told = [...days.history.slice(-40), ...log].join('\n');
        throw new Error(`seed ${SEED}, after ${days.history.length} lines of:\n${told}`, { cause: error });
      }
    },
    LIMIT_MS,
  );
});
