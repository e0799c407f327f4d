import { defineErrors } from '../../base/index.ts';

export const secretsError = defineErrors({ master_key_unusable: 500, sealed_data_damaged: 500 });
