/**
 * A provider whose guest book runs in a VM at the edge that is there already: it looks whether its application is in the VM that
 * the gateway names, and if not has it put there. Until then, and where there is no gateway, this server answers by itself.
 *
 *     node --conditions=orilla-source examples/running-vm/server.ts guest-book.token 127.0.0.1:8081 guest-book.tar 9000
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { EdgeOffload } from 'orilla/origin';

const [tokenFile = 'guest-book.token', api = '127.0.0.1:8081', file = 'guest-book.tar', port = '9000'] =
  process.argv.slice(2);

const artifact = readFileSync(file);
const offload = new EdgeOffload({
  gateways: [{ api, token: readFileSync(tokenFile, 'utf8').trim() }],
  application: {
    // The gateway fetches it from here.
    applicationRef: `http://127.0.0.1:${port}/guest-book.tar`,
    digest: `sha256:${createHash('sha256').update(artifact).digest('hex')}`,
    signature: readFileSync(`${file}.sig`, 'utf8').trim(),
  },
  log: console.log,
});

const server = createServer((request, response) => {
  if (request.url === '/guest-book.tar') {
    response.writeHead(200, { 'Content-Type': 'application/x-tar' }).end(artifact);
    return;
  }
  offload.middleware(request, response, () =>
    response.end('The guest book opens at the edge in a moment.\n'),
  );
});
server.listen(Number(port), '127.0.0.1', () => console.log(`http://127.0.0.1:${port}/`));
