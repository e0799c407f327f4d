/**
 * Composition: a configuration in, running services out.
 *
 * @example
 * import { createLog, dataFolder, Edge, readEdgeConfig, systemClock, systemRandom } from 'orilla';
 *
 * const config = await readEdgeConfig('orilla.yaml');
 * const deps = { clock: systemClock, random: systemRandom, log: createLog('info'), version: '1' };
 * await using edge = await Edge.start(deps, config, dataFolder('./orilla-data'));
 * @module
 */
export { type Clock, type Random, systemClock, systemRandom } from '../base/index.ts';
export { createLog, type Log } from '../platform/telemetry/index.ts';
export { type EdgeConfig, parseEdgeConfig, readEdgeConfig } from './config.ts';
export { type DataFolder, dataFolder, makeDataFolder } from './data-folder.ts';
export { examine } from './doctor.ts';
export type { Finding } from './doctor-finding.ts';
export { Edge, type EdgeDeps } from './edge.ts';
export type { ConfigChanges } from './reload.ts';
