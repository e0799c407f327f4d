import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';

/** Accepts a WebSocket (RFC 6455) and sends each short text back, with `prefix` before it. */
export function acceptEcho(prefix: string) {
  return (request: IncomingMessage, socket: Duplex): void => {
    const key = `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
    const accept = createHash('sha1').update(key).digest('base64');
    socket.on('error', () => undefined);
    socket.write(
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
        `Sec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    socket.on('data', (frame: Buffer) => {
      // One masked text frame of at most 125 octets; anything else closes it.
      const length = (frame[1] ?? 0) & 127;
      if (frame[0] !== 0x81 || length > 100) {
        socket.end(Buffer.of(0x88, 0));
        return;
      }
      const mask = frame.subarray(2, 6);
      const text =
        prefix +
        frame
          .subarray(6, 6 + length)
          .map((octet, i) => octet ^ (mask[i % 4] ?? 0))
          .toString();
      socket.write(Buffer.concat([Buffer.of(0x81, text.length), Buffer.from(text)]));
    });
  };
}
