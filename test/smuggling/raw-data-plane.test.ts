import { RawDataPlane } from '../../src/gateway/data-plane/raw-data-plane.ts';
import type { StartPlane } from '../support/plane-site.ts';
import { describeAnswerSmuggling } from './answer-suite.ts';
import { describeDifference } from './differential-suite.ts';
import { describeRequestSmuggling } from './request-suite.ts';

const start: StartPlane = (deps, listen) => RawDataPlane.start(deps, listen);

describeRequestSmuggling('the data plane', start);
describeAnswerSmuggling('the data plane', start);
describeDifference('the data plane', start);
