import { defineErrors } from '../../base/index.ts';

/** What can go wrong while an image is built: code → HTTP status. */
export const buildError = defineErrors({
  apt_missing: 503,
  archive_invalid: 500,
  content_changed: 409,
  content_invalid: 422,
  content_too_large: 413,
  disk_full: 507,
  guest_kernel_unsuitable: 422,
  output_not_an_image: 409,
  package_damaged: 502,
  package_download_failed: 502,
  package_unknown: 503,
  recipe_invalid: 500,
});
