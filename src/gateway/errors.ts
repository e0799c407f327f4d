import { defineErrors } from '../base/index.ts';

/** The gateway's errors: code → HTTP status. */
export const gatewayError = defineErrors({
  invalid_idempotency_key: 400,
  invalid_json: 400,
  invalid_xml: 400,
  name_mismatch: 400,
  token_missing: 401,
  token_unknown: 403,
  too_many_refusals: 429,
  secret_file_unusable: 500,
  worker_failed: 500,
});
