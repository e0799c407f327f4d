import { type CodedError, defineErrors, messageOf, systemCode } from '../../base/index.ts';

const socketError = defineErrors({ port_taken: 500, cannot_listen: 500 });

/** Where a server listens; port 0 lets the kernel choose. */
export interface Listen {
  readonly host: string;
  readonly port: number;
}

/** What to tell a person whose server could not listen on `where`. */
export function listenError(error: unknown, where: string): CodedError {
  if (systemCode(error) === 'EADDRINUSE') {
    return socketError(
      'port_taken',
      `${where} is taken by another program; choose another with --port-offset or in the configuration`,
      error,
    );
  }
  return socketError('cannot_listen', `cannot listen on ${where}: ${messageOf(error)}`, error);
}
