import type { FieldRole } from './field-section.ts';

/** What only a gateway may say: a client's word for it is dropped, from heads and trailers alike. */
export const GATEWAY_FIELDS: Readonly<Record<string, FieldRole>> = {
  forwarded: 'drop',
  signature: 'drop',
  'x-forwarded-for': 'drop',
  'x-forwarded-host': 'drop',
  'x-forwarded-proto': 'drop',
};

/** The same for all names that begin so. */
export const GATEWAY_PREFIXES = ['bng-', 'orilla-', 'signature-'] as const;
