/** Reads what an operator wrote. */
export {
  byteSizeSchema,
  configError,
  durationSchema,
  listenSchema,
  parseConfig,
} from './config.ts';
