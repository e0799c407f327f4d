import { defineErrors } from '../../../base/index.ts';

/** Why a host is not reached on behalf of a client. */
export const forwardError = defineErrors({
  address_forbidden: 403,
  name_unresolved: 502,
});
