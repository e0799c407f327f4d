/**
 * A site that lets gateways at the edge run it, with the provider's kit. Run it beside `npm start` (its own origin ended, or
 * another --port-offset) and look at README.md.
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { EdgeOffload } from 'orilla/origin';

const [tokenFile = 'photos.token', api = '127.0.0.1:8081', imageRef = 'photos'] = process.argv.slice(2);

const offload = new EdgeOffload({
  gateways: [{ api, token: readFileSync(tokenFile, 'utf8').trim() }],
  vm: { name: 'photos', imageRef, configurationid: 'small' },
  threshold: { users: 1, withinMs: 60_000 },
  log: console.log,
});

const server = createServer((request, response) => {
  offload.middleware(request, response, () => response.end('Hello from the origin.\n'));
});
server.listen(9000, '127.0.0.1', () => console.log('http://127.0.0.1:9000/'));
