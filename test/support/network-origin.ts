// A provider's machine in a network of its own: HTTP on port 80, HTTPS on port 443, and the name server that leads all names to
// it. Started as `network-origin <folder with cert.pem and key.pem> <IPv4 address> <IPv6 address>`.
import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { join } from 'node:path';

const [, , folder = '', ipv4 = '', ipv6 = ''] = process.argv;
const answer: RequestListener = ({ method, url, headers, socket }, response) =>
  response.end(JSON.stringify({ method, url, headers, from: socket.remoteAddress }));

createServer(answer).listen(80, '::');
const [cert, key] = ['cert.pem', 'key.pem'].map((name) => readFileSync(join(folder, name)));
createTlsServer({ cert, key }, answer).listen(443, '::', () => process.stdout.write('listening\n'));

const names = createSocket('udp4');
names.on('message', (query, from) => names.send(answerTo(query), from.port, from.address));
names.bind(53, ipv4);

/** One record (RFC 1035 §4): A or AAAA. */
function answerTo(query: Buffer): Buffer {
  const question = query.subarray(12, query.indexOf(0, 12) + 5);
  const type = question.readUInt16BE(question.length - 4);
  const head = Buffer.from(query.subarray(0, 12));
  head.writeUInt16BE(0x8180, 2);
  for (const [at, count] of [1, 1, 0, 0].entries()) head.writeUInt16BE(count, 4 + 2 * at);
  const address = type === 1 ? Buffer.from(ipv4.split('.').map(Number)) : ipv6Octets();
  return Buffer.concat([
    head,
    question,
    Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 60, 0, address.length]),
    address,
  ]);
}

/** Of an address with one `::`. */
function ipv6Octets(): Buffer {
  const [before = [], after = []] = ipv6.split('::').map((half) => half.split(':'));
  const zeros = Array<string>(8 - before.length - after.length).fill('0');
  return Buffer.from([...before, ...zeros, ...after].map((group) => group.padStart(4, '0')).join(''), 'hex');
}
