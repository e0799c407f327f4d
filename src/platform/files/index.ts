/**
 * Small questions to the file system.
 * @module
 */

export { namesIn } from './names-in.ts';
