import { createServer } from 'node:net';
import { connect as connectTls } from 'node:tls';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CLIENT_HELLO_LIMIT_BYTES, readClientHello } from './client-hello.ts';

const u16 = (value: number) => Buffer.from([value >> 8, value & 255]);
const vector16 = (...parts: Buffer[]) => {
  const body = Buffer.concat(parts);
  return Buffer.concat([u16(body.length), body]);
};
const nameEntry = (name: string, type = 0) =>
  Buffer.concat([Buffer.from([type]), vector16(Buffer.from(name))]);
const extension = (type: number, data: Buffer) => Buffer.concat([u16(type), vector16(data)]);
const serverName = (...names: string[]) => extension(0, vector16(...names.map((name) => nameEntry(name))));

function message(extensions: Buffer | undefined): Buffer {
  const body = Buffer.concat([
    Buffer.from([3, 3]),
    Buffer.alloc(32, 7),
    Buffer.from([0]),
    vector16(u16(0x1301)),
    Buffer.from([1, 0]),
    ...(extensions ? [vector16(extensions)] : []),
  ]);
  return Buffer.concat([Buffer.from([1, 0]), u16(body.length), body]);
}

const record = (fragment: Buffer) => Buffer.concat([Buffer.from([22, 3, 1]), vector16(fragment)]);

/** The message cut into records of so many octets. */
function records(whole: Buffer, sizeBytes = whole.length): Buffer {
  const cut: Buffer[] = [];
  for (let at = 0; at < whole.length; at += sizeBytes) cut.push(record(whole.subarray(at, at + sizeBytes)));
  return Buffer.concat(cut);
}

const NAMED = { kind: 'named', serverName: 'photos.example' };
const padding = extension(21, Buffer.alloc(300));
const hello = message(Buffer.concat([padding, serverName('Photos.Example'), padding]));

describe('a ClientHello', () => {
  test('tells the server’s name, in lower case', () => {
    expect(readClientHello(records(hello))).toEqual(NAMED);
    expect(readClientHello(Buffer.concat([records(hello), Buffer.from('more')]))).toEqual(NAMED);
  });

  test('is read at every split, and in records of every size, also in pieces of one octet', () => {
    const whole = records(hello);
    for (let length = 0; length < whole.length; length += 1) {
      expect(readClientHello(whole.subarray(0, length)), String(length)).toBeUndefined();
    }
    for (const sizeBytes of [1, 2, 3, 4, 5, 43, 100, hello.length - 1]) {
      const cut = records(hello, sizeBytes);
      expect(readClientHello(cut), String(sizeBytes)).toEqual(NAMED);
      expect(readClientHello(cut.subarray(0, -1)), String(sizeBytes)).toBeUndefined();
    }
  });

  test.for([
    ['no extension', records(message(undefined))],
    ['no name', records(message(padding))],
    ['an empty list', records(message(serverName()))],
    ['two names', records(message(serverName('a.example', 'b.example')))],
    [
      'the extension twice',
      records(message(Buffer.concat([serverName('a.example'), serverName('b.example')]))),
    ],
    ['a name of another type', records(message(extension(0, vector16(nameEntry('a.example', 1)))))],
    ['an address', records(message(serverName('192.0.2.1')))],
    ['an IPv6 address', records(message(serverName('2001:db8::1')))],
    ['what is no host name', records(message(serverName('a.example\0.b')))],
    ['an empty name', records(message(serverName('')))],
    ['a name that is too long', records(message(serverName(`${'a'.repeat(253)}.b`)))],
    ['a length beyond the end', records(message(Buffer.concat([u16(0), u16(400)])))],
    [
      'octets behind the list',
      records(message(extension(0, Buffer.concat([vector16(nameEntry('a.example')), u16(0)])))),
    ],
    ['another message', record(Buffer.from([2, 0, 0, 1, 0]))],
    ['an empty record', Buffer.from([22, 3, 1, 0, 0])],
    ['an alert', Buffer.from([21, 3, 3, 0, 2, 2, 112])],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n')],
    ['SSL 2', Buffer.from([0x80, 0x2e, 1, 3, 1])],
    ['a message of 16 MiB', record(Buffer.from([1, 255, 255, 255]))],
  ] as const)('with %s is refused', ([, octets]) => {
    expect(readClientHello(octets)).toMatchObject({ kind: 'refused' });
  });

  test('that never ends is refused, also one that is all heads of records', () => {
    const long = message(extension(21, Buffer.alloc(CLIENT_HELLO_LIMIT_BYTES - 100)));
    expect(readClientHello(records(long, 1).subarray(0, CLIENT_HELLO_LIMIT_BYTES))).toMatchObject({
      kind: 'refused',
    });
  });

  test('of any octets is read without a fault', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(hello.length), (noise, at) => {
        readClientHello(Buffer.from(noise));
        readClientHello(records(Buffer.concat([hello.subarray(0, at), noise, hello.subarray(at)])));
      }),
    );
  });

  test('of a real client is understood', async () => {
    const seen = Promise.withResolvers<Buffer>();
    const server = createServer((socket) => {
      socket.once('data', seen.resolve).on('error', () => undefined);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const client = connectTls({ port, host: '127.0.0.1', servername: 'photos.example' });
    client.on('error', () => undefined);
    expect(readClientHello(await seen.promise)).toEqual(NAMED);
    client.destroy();
    server.close();
  });
});
