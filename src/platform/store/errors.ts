import { defineErrors } from '../../base/index.ts';

export const storeError = defineErrors({
  store_full: 507,
  store_in_use: 409,
  store_newer: 500,
  store_unusable: 500,
});
