/**
 * What everything stands on: time, randomness, errors, units and lifecycles. Runs in Node and in browsers.
 * @module
 */
export type { Brand } from './brand.ts';
export { type Clock, deadline, ManualClock, systemClock } from './clock.ts';
export { CodedError, defineErrors, type ErrorTable, hasCode, messageOf, systemCode } from './errors.ts';
export { type Closable, CloseStack } from './lifecycle.ts';
export { type Random, randomId, systemRandom } from './random.ts';
export { formatBytes, formatDuration, parseBytes, parseDurationMs } from './units.ts';
