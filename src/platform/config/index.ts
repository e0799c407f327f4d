/** Reads what an operator wrote. */
export {
  byteSizeSchema,
  configError,
  durationSchema,
  hostNameSchema,
  httpServerSchema,
  httpServerUrl,
  listenSchema,
  parseConfig,
} from './config.ts';
