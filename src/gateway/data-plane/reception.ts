import type { Clock } from '../../base/index.ts';
import type { ClientRequest, ClientStream } from './client.ts';
import type { Visit } from './visit.ts';

/** Where the requests of a connection are taken: each entrance of the data plane has its own. */
export interface Reception {
  readonly clock: Clock;
  /** No connection is kept for another request. */
  readonly isClosing: boolean;
  /** A head has to be whole this long after its first octet. */
  readonly headTimeoutMs: number;
  /** Begins to serve a request. `undefined` when it was refused: the answer has been written then. */
  receive(client: ClientStream, request: ClientRequest): Visit | undefined;
  /** A request that was no HTTP, and belongs to nobody. */
  observeRefusal(status: number, failure: string, client?: ClientStream): void;
}
