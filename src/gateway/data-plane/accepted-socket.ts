import { Socket } from 'node:net';

/** Most requests are much smaller. */
const READ_BUFFER_BYTES = 64 * 1024;
/** What comes in is read here, for all connections: it is used up before the next read. */
const buffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES);

/**
 * A connection that a paused server has accepted, to be read without memory being got for every read (`onread` of
 * `net.Socket`, which Node offers for connections that are made but not for those that are accepted). This takes a fourth off
 * the cost of a request. Where Node does not let go of its handle, the connection is read as any other.
 *
 * @param onOctets takes what came in, valid during the call; false: no more until the socket is resumed.
 */
export function readAccepted(accepted: Socket, onOctets: (octets: Buffer) => boolean): Socket {
  const owner = accepted as Socket & { _handle?: unknown };
  const handle = owner._handle;
  if (handle === null || typeof handle !== 'object') {
    readEvents(accepted, onOctets);
    return accepted;
  }
  // Without its handle, the first socket has nothing to close.
  owner._handle = null;
  accepted.destroy();
  return new Socket({
    handle,
    allowHalfOpen: accepted.allowHalfOpen,
    onread: { buffer, callback: (count: number) => onOctets(buffer.subarray(0, count)) },
  } as ConstructorParameters<typeof Socket>[0]);
}

/** The client's address; IPv4 as such, also where the server listens for both families (`::ffff:192.0.2.1`). */
export const clientAddress = (socket: Socket): string =>
  (socket.remoteAddress ?? '').replace(/^::ffff:(?=[\d.]+$)/, '');

/** Reads a connection by its events: one that is encrypted. */
export function readEvents(socket: Socket, onOctets: (octets: Buffer) => boolean): void {
  socket.on('data', (octets: Buffer) => {
    if (!onOctets(octets)) socket.pause();
  });
  socket.resume();
}
