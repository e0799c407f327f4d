import { defineErrors } from '../base/index.ts';

/** The pool's errors: code → HTTP status. */
export const poolError = defineErrors({
  configuration_unknown: 422,
  configuration_too_large: 422,
  configuration_too_small: 422,
  disk_full: 507,
  hypervisor_missing: 503,
  image_address_refused: 403,
  image_digest_mismatch: 422,
  image_fetch_failed: 502,
  image_in_use: 409,
  image_invalid: 422,
  image_not_found: 404,
  image_outside_root: 403,
  image_truncated: 422,
  image_withdrawn: 410,
  machine_failed: 500,
  operation_not_found: 404,
  pool_full: 503,
  previous_version_missing: 409,
  quota_exceeded: 403,
  request_key_reused: 422,
  untrusted_on_tcg: 403,
  vm_conflict: 409,
  vm_failed: 502,
  vm_not_found: 404,
});
