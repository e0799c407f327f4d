import { defineErrors } from '../base/index.ts';

export const demoError = defineErrors({ demo_failed: 500 });
