/**
 * Composition: a configuration in, running services out.
 *
 * @example
 * const config = await readEdgeConfig('orilla.yaml');
 * const edge = await Edge.start({ clock, random, log, version }, config, dataFolder('./orilla-data'));
 * await edge.close();
 * @module
 */
export { type EdgeConfig, parseEdgeConfig, readEdgeConfig } from './config.ts';
export { type DataFolder, dataFolder } from './data-folder.ts';
export { examine, type Finding } from './doctor.ts';
export { Edge, type EdgeDeps } from './edge.ts';
