import { describeConnections } from '../../../test/support/connection-suite.ts';
import { describeDataPlane } from '../../../test/support/data-plane-suite.ts';
import { describeManyConnections } from '../../../test/support/many-connections-suite.ts';
import type { StartPlane } from '../../../test/support/plane-site.ts';
import { describeSlowPeers } from '../../../test/support/slow-peer-suite.ts';
import { describeWebSocket } from '../../../test/support/web-socket-suite.ts';
import { RawDataPlane } from './raw-data-plane.ts';

const start: StartPlane = (deps, listen) => RawDataPlane.start(deps, listen);

describeDataPlane('the data plane', start);
describeWebSocket('the data plane', start);
describeConnections('the data plane', start);
describeSlowPeers('the data plane', start);
describeManyConnections('the data plane', start);
