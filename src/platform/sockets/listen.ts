import { type CodedError, defineErrors, messageOf, systemCode } from '../../base/index.ts';

const socketError = defineErrors({ port_taken: 500, cannot_listen: 500 });

/** Where a server listens; port 0 lets the kernel choose. */
export interface Listen {
  readonly host: string;
  readonly port: number;
}

/** What to tell a person whose server could not listen on an address or a Unix socket. */
export function listenError(error: unknown, where: Listen | { readonly path: string }): CodedError {
  const name =
    'path' in where
      ? where.path
      : `${where.host.includes(':') ? `[${where.host}]` : where.host}:${where.port}`;
  if (systemCode(error) === 'EADDRINUSE') {
    const advice = 'path' in where ? '' : '; choose another with --port-offset or in the configuration';
    return socketError('port_taken', `${name} is taken by another program${advice}`, error);
  }
  return socketError('cannot_listen', `cannot listen on ${name}: ${messageOf(error)}`, error);
}
