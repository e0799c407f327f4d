/**
 * The open loop in a process of its own, so that it can be kept on one core: options as JSON in the first argument, the
 * result as JSON on standard output.
 * @module
 */
import { type OpenLoopOptions, runOpenLoop } from './open-loop.ts';

const options = JSON.parse(process.argv[2] ?? '') as OpenLoopOptions;
process.stdout.write(`${JSON.stringify(await runOpenLoop(options))}\n`);
