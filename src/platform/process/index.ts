/** Child processes, and where this program's own files are. */
export { entryPath, packagePath } from './package-path.ts';
export {
  endProcess,
  identifyProcess,
  isRunning,
  type ProcessIdentity,
  processesIn,
} from './process-identity.ts';
export { type CommandOptions, type CommandOutput, runCommand } from './run.ts';
