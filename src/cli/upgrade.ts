import { defineErrors, systemClock } from '../base/index.ts';
import { type Upgrade, upgradeSchema } from '../pool/schema.ts';
import { ControlClient } from './control-client.ts';
import { imageReference } from './image-reference.ts';
import { ProgressLine, print, printTable } from './output.ts';

const cliError = defineErrors({ image_not_found: 404, upgrade_failed: 502 });

const LOOK_INTERVAL_MS = 200;

export interface UpgradeOptions {
  readonly from: string;
  readonly to: string;
  readonly wave: number;
  readonly data: string;
}

/** Brings all VMs of an image to another one and shows how far that is. */
export async function upgradeVms({ from, to, wave, data }: UpgradeOptions): Promise<void> {
  const client = new ControlClient(data);
  const fromDigest = await imageReference(client, from, data);
  if (!fromDigest.startsWith('sha256:')) {
    throw cliError(
      'image_not_found',
      `--from: no image ${from} is stored here; "orilla image ls" shows those that are`,
    );
  }
  const imageRef = await imageReference(client, to, data);
  const { id } = await client.post(
    '/api/v1/upgrades',
    { fromDigest, imageRef, waveSize: wave },
    upgradeSchema,
  );
  const progress = new ProgressLine();
  let upgrade: Upgrade;
  try {
    for (;;) {
      upgrade = await client.get(`/api/v1/upgrades/${encodeURIComponent(id)}`, upgradeSchema);
      if (upgrade.status !== 'running') break;
      const over = upgrade.steps.filter(({ status }) => status !== 'waiting' && status !== 'changing');
      progress.show(`upgrading ${upgrade.steps.length} VMs`, over.length, upgrade.steps.length);
      await systemClock.sleep(LOOK_INTERVAL_MS);
    }
  } finally {
    progress.end();
  }
  printTable(
    upgrade.steps,
    { name: ({ vm }) => vm, outcome: ({ status }) => OUTCOMES[status], reason: ({ reason }) => reason ?? '' },
    { empty: `no VM runs from ${from}` },
  );
  const count = upgrade.steps.filter(({ status }) => status === 'upgraded').length;
  print(`${count} of ${upgrade.steps.length} upgraded`);
  if (upgrade.status === 'failed') {
    throw cliError(
      'upgrade_failed',
      'one of a wave could not be upgraded; those after it were left as they are',
    );
  }
}

const OUTCOMES: Readonly<Record<Upgrade['steps'][number]['status'], string>> = {
  waiting: 'left as it is',
  changing: 'changing',
  upgraded: 'upgraded',
  failed: 'failed, serves as before',
  skipped: 'skipped',
};
