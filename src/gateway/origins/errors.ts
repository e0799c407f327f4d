import { defineErrors } from '../../base/index.ts';

/** The errors of who is an origin here: code → HTTP status. */
export const originError = defineErrors({
  origin_not_found: 404,
  origin_taken: 409,
  origin_configured: 409,
  origin_without_token: 409,
  origins_full: 409,
  host_refused: 409,
  rotation_under_way: 409,
  rotation_not_begun: 409,
});
