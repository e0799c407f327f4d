import { expect, test } from 'vitest';
import { orilla } from '../support/orilla-command.ts';
import { RunningOrilla } from '../support/running-orilla.ts';
import { TestOrigin } from '../support/test-origin.ts';
import { needs } from '../support/tools.ts';
import { VmApiClient } from '../support/vm-api-client.ts';
import { webImage } from '../support/web-image.ts';

needs('qemu-system-x86_64')('in software, the image of an origin', () => {
  test('is refused with a reason that says what to do, and runs when the operator has imported it', async () => {
    await using origin = await TestOrigin.start();
    const image = await webImage();
    origin.images['web'] = image.folder;
    await using running = await RunningOrilla.start({
      origins: { photos: { port: origin.port } },
      pool: { allowUntrustedOnTcg: false },
    });
    const api = new VmApiClient(running, 'photos');
    const wanted = { name: 'web', imageRef: origin.imageUrl('web') };
    await api.load(wanted);
    const refused = await running.untilPhase('web', 'failed', 'ready');
    expect(refused).toMatchObject({ phase: 'failed', restarts: 0 });
    expect(refused.reason).toMatch(/TCG.*no isolation.*orilla image import/);
    expect((await orilla('vm', 'ls', '--data', running.data)).stdout).toContain('no isolation');
    expect((await api.get('web')).reason).toBe(refused.reason);

    expect(await orilla('image', 'import', image.folder, '--data', running.data)).toMatchObject({ code: 0 });
    await api.load(wanted);
    expect(await running.untilPhase('web', 'ready', 'failed')).toMatchObject({
      phase: 'ready',
      accelerator: 'tcg',
      imageDigest: image.digest,
    });
  });
});
