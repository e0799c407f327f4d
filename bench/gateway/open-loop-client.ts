/**
 * The open loop in a process of its own, so that it can be kept on one core: options as JSON in the first argument, the
 * result as JSON on standard output.
 * @module
 */
import { type OpenLoopOptions, runOpenLoop } from './open-loop.ts';

export interface ClientOptions extends OpenLoopOptions {
  /** Where and how long it runs before, unmeasured: until V8 has compiled what it runs all the time. */
  readonly warmUp: { readonly port: number; readonly durationMs: number };
}

const { warmUp, ...options } = JSON.parse(process.argv[2] ?? '') as ClientOptions;
await runOpenLoop({ ...options, ...warmUp });
process.stdout.write(`${JSON.stringify(await runOpenLoop(options))}\n`);
