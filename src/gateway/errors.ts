import { defineErrors } from '../base/index.ts';

/** The gateway's errors: code → HTTP status. */
export const gatewayError = defineErrors({
  application_keys_missing: 403,
  command_invalid: 400,
  invalid_idempotency_key: 400,
  invalid_json: 400,
  invalid_xml: 400,
  name_mismatch: 400,
  login_revoked: 403,
  token_missing: 401,
  token_unknown: 403,
  too_many_refusals: 429,
  secret_file_unusable: 500,
  too_many_commands: 429,
  worker_failed: 500,
});
