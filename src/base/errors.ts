/** An error that a program can branch on (`code`) and a person can act on (`message`). */
export class CodedError extends Error {
  /** Never changes meaning once released. Branch on this, never on the message. */
  readonly code: string;
  /** The HTTP status that an API answers with when this error reaches it (RFC 9110 §15). */
  readonly status: number;

  constructor(code: string, status: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'CodedError';
    this.code = code;
    this.status = status;
  }
}

/** One capability's table of errors: code → HTTP status. */
export type ErrorTable = Readonly<Record<string, number>>;

/**
 * Makes the function that builds a capability's errors from its table.
 *
 * @example
 * export const poolError = defineErrors({ image_digest_mismatch: 422, vm_not_found: 404 });
 * throw poolError('vm_not_found', `no VM is named "${name}"`);
 */
export function defineErrors<const Table extends ErrorTable>(table: Table) {
  return (code: keyof Table & string, message: string, cause?: unknown): CodedError =>
    new CodedError(code, table[code] ?? 500, message, cause === undefined ? undefined : { cause });
}

/** True when `error` is one of ours and carries one of `codes` (any code when none is named). */
export function hasCode(error: unknown, ...codes: readonly string[]): error is CodedError {
  return error instanceof CodedError && (codes.length === 0 || codes.includes(error.code));
}

/** The message of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The system's code of an I/O error (`ENOSPC`, `EADDRINUSE`, …), also when it is the cause of another error. */
export function systemCode(error: unknown): string | undefined {
  for (let current = error; current instanceof Error; current = current.cause) {
    if (current instanceof CodedError) continue;
    const { code } = current as { code?: unknown };
    if (typeof code === 'string') return code;
  }
  return undefined;
}
