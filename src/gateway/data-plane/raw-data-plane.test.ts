import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, expect, test } from 'vitest';
import { ask } from '../../../test/support/ask.ts';
import { describeConnections } from '../../../test/support/connection-suite.ts';
import { describeDataPlane } from '../../../test/support/data-plane-suite.ts';
import { describeManyConnections } from '../../../test/support/many-connections-suite.ts';
import type { StartPlane } from '../../../test/support/plane-site.ts';
import { describeSlowPeers } from '../../../test/support/slow-peer-suite.ts';
import { TestOrigin } from '../../../test/support/test-origin.ts';
import { describeWebSocket } from '../../../test/support/web-socket-suite.ts';
import { systemClock, systemRandom } from '../../base/index.ts';
import { silentLog } from '../../platform/telemetry/index.ts';
import { RawDataPlane } from './raw-data-plane.ts';

const start: StartPlane = (deps, listen) => RawDataPlane.start(deps, listen);

describeDataPlane('the data plane', start);
describeWebSocket('the data plane', start);
describeConnections('the data plane', start);
describeSlowPeers('the data plane', start);
describeManyConnections('the data plane', start);

describe('a data plane that does not know its sites yet', () => {
  test('lets clients wait until it does, or until it is closed', async () => {
    await using origin = await TestOrigin.start();
    const plane = await RawDataPlane.start(
      { clock: systemClock, random: systemRandom, log: silentLog, observe: () => undefined },
      { host: '127.0.0.1', port: 0 },
    );
    const early = ask(plane.port, 'photos.example');
    // This one is accepted after it.
    const later = connect(plane.port, '127.0.0.1');
    await once(later, 'connect');
    later.destroy();
    const upstream = { host: '127.0.0.1', port: origin.port, isTls: false };
    plane.apply({
      routes: new Map([['photos.example', { origin: 'photos', upstream, vms: [] }]]),
      tag: { name: 'Bng-API-Server', value: '192.0.2.1' },
      showServedBy: false,
    });
    expect(await early).toMatchObject({ status: 200, body: 'from the origin\n' });
    await plane.close();

    const closed = await RawDataPlane.start(
      { clock: systemClock, random: systemRandom, log: silentLog, observe: () => undefined },
      { host: '127.0.0.1', port: 0 },
    );
    const refused = expect(ask(closed.port, 'photos.example')).rejects.toThrow();
    await closed.close();
    await refused;
  });
});
