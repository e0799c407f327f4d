/**
 * An application provider's server: a photo site that lets a gateway at the edge run a copy of itself. All that passes
 * between the two is HTTP, and nothing but Node is imported: write yours in any language. README.md tells the story.
 */
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, isIPv6 } from 'node:net';
import { join } from 'node:path';
import { EdgeClient, gatewayOf, type Vm } from './edge-client.ts';
import { type AnswerForm, HELP, type Options, parseOptions } from './options.ts';
import { findFile, sendFile } from './static-files.ts';

const SITE = join(import.meta.dirname, 'site');
const VM_NAME = 'photos';
const IMAGES = `/images/${VM_NAME}/`;
const CONFIGURATION_ID = 'small'; // One of those that the gateway's operator offers.
const DRAIN_MS = 2_000;

/** What reached this server although a VM could have served it: the figure that an offload brings to a halt. */
const stats = { requests: 0, bytesSent: 0, imageRequests: 0 };

const options = optionsOrExit();
const server = createServer((request, response) => {
  account(request, response);
  handle(request, response).catch((error: unknown) => {
    if (response.destroyed) return; // The visitor left in the middle: the request's own line says so.
    log(`${request.method} ${pathOf(request)}: ${error instanceof Error ? error.message : String(error)}`);
    if (response.headersSent) response.destroy();
    else response.writeHead(500, { 'Content-Length': 0 }).end();
  });
});
const edge = await start(server, options);
process.once('SIGTERM', stop).once('SIGINT', stop);

async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = pathOf(request);
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.writeHead(405, { Allow: 'GET, HEAD', 'Content-Length': 0, Connection: 'close' }).end();
    return;
  }
  if (path === '/stats') {
    const body = Buffer.from(`${JSON.stringify(stats)}\n`);
    const headers = { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' };
    response.writeHead(200, { ...headers, 'Content-Length': body.length });
    response.end(request.method === 'HEAD' ? undefined : body);
    return;
  }
  if (path.startsWith(IMAGES)) {
    const name = path.slice(IMAGES.length);
    await sendFrom(options.imageDir, name === '' || name.includes('/') ? undefined : name, request, response);
    return;
  }

  const gateway = gatewayOf(request.headers, options.gateways);
  const vm = gateway && (await edge.vmOn(gateway));
  if (vm && nameVm(options.answer, vm, path, request, response)) return;
  await sendFrom(SITE, path, request, response);
}

/**
 * Tells the visitor of our VM at the edge, in one of three forms. True when that was the whole answer; otherwise the
 * page is still to be sent. Only a GET for the page itself is answered by body or redirect: a picture of the page that
 * is already on its way stays a picture.
 */
function nameVm(
  form: AnswerForm,
  vm: Vm,
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
): boolean {
  const forPage = request.method === 'GET' && (path === '/' || path === '/index.html');
  switch (form) {
    case 'header':
      response.setHeader('Vm-Host-Name', vm.host);
      if (vm.ip !== undefined) response.setHeader('Vm-Ip', vm.ip);
      return false;
    case 'body': {
      if (!forPage) return false;
      const ip = vm.ip === undefined ? '' : `vmip=${vm.ip}; `;
      const body = Buffer.from(`${ip}vm-host-name=${vm.host}\n`);
      response.writeHead(200, {
        'Content-Type': 'text/plain; charset=utf-8',
        'Content-Length': body.length,
        'Cache-Control': 'no-store',
      });
      response.end(body);
      return true;
    }
    case 'redirect': {
      // A gateway whose VM just died sends us the requests for the VM's own name: redirecting those goes in circles.
      const alreadyThere = hostName(request.headers.host) === hostName(vm.host);
      if (!forPage || vm.status !== 'ready' || vm.url === undefined || alreadyThere) return false;
      response.writeHead(302, { Location: vm.url, 'Content-Length': 0, 'Cache-Control': 'no-store' });
      response.end();
      return true;
    }
  }
}

async function sendFrom(
  root: string | undefined,
  path: string | undefined,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const file = root !== undefined && path !== undefined && (await findFile(root, path));
  if (file) return sendFile(request, response, file);
  const notFound = await findFile(SITE, '/404.html');
  if (notFound) return sendFile(request, response, notFound, 404);
  response.writeHead(404, { 'Content-Length': 0 }).end();
}

/** Counts a request, and logs one line once it is answered or its visitor has gone. */
function account(request: IncomingMessage, response: ServerResponse): void {
  const path = pathOf(request);
  const counter = path.startsWith(IMAGES) ? 'imageRequests' : path === '/stats' ? undefined : 'requests';
  if (counter) stats[counter] += 1;
  const startedMs = performance.now();
  const { socket } = request;
  const sentBefore = socket.bytesWritten;
  response.once('close', () => {
    const sentBytes = socket.bytesWritten - sentBefore; // Heads included: it is what the line had to carry.
    if (counter === 'requests') stats.bytesSent += sentBytes;
    const tag = request.headers['bng-api-url'] ?? request.headers['bng-api-server'];
    const listed = gatewayOf(request.headers, options.gateways) ? '' : ' (not on our list)';
    const tagged = tag === undefined ? '' : `, tag ${String(tag).slice(0, 200)}${listed}`;
    const cut = response.writableFinished ? '' : ', cut off';
    const answered = `${response.statusCode}, ${sentBytes} bytes, ${Math.round(performance.now() - startedMs)} ms`;
    log(`${request.method} ${request.url?.slice(0, 200)} ${answered}${tagged}${cut}`);
  });
}

function optionsOrExit(): Options {
  try {
    const parsed = parseOptions(process.argv.slice(2));
    if (parsed.help) {
      process.stdout.write(`${HELP}\n`);
      process.exit(0);
    }
    return parsed;
  } catch (error) {
    process.stderr.write(`origin: ${(error as Error).message}\nTry --help.\n`);
    process.exit(2);
  }
}

async function start(listening: Server, { host, port, publicUrl, ...rest }: Options): Promise<EdgeClient> {
  await new Promise<void>((resolve) => {
    listening.once('error', (error) => {
      process.stderr.write(`origin: cannot listen on ${host}, port ${port}: ${error.message}\n`);
      process.exit(1);
    });
    listening.listen(port, host, resolve);
  });
  const { port: bound } = listening.address() as AddressInfo;
  const here = `http://${isIPv6(host) ? `[${host}]` : host}:${bound}`;
  log(`serving ${SITE} at ${here}/`);
  if (rest.gateways.length > 0) log(`gateways: ${rest.gateways.map((url) => url.host).join(', ')}`);
  return new EdgeClient(
    {
      log,
      readManifest: () => readFile(join(rest.imageDir ?? '', 'image.json')),
      readToken: async () => (await readFile(rest.tokenFile ?? '', 'utf8')).trim(),
    },
    {
      name: VM_NAME,
      configurationId: CONFIGURATION_ID,
      imageRef: `${publicUrl ?? here}${IMAGES.slice(0, -1)}`,
      waitSeconds: rest.answer === 'redirect' ? 10 : 0,
      pauseMs: rest.retryMs,
    },
  );
}

/** Lets the answers under way finish, for a while; then the process ends by itself. */
function stop(signal: NodeJS.Signals): void {
  log(`${signal}: closing`);
  edge.close();
  server.close();
  server.closeIdleConnections();
  setTimeout(() => server.closeAllConnections(), DRAIN_MS).unref();
}

function pathOf({ url = '/' }: IncomingMessage): string {
  const query = url.indexOf('?');
  return query < 0 ? url : url.slice(0, query);
}

/** Without the port. */
function hostName(authority: string | undefined): string | undefined {
  return authority?.toLowerCase().replace(/:\d+$/, '');
}

function log(line: string): void {
  process.stdout.write(`${new Date().toISOString()} ${line}\n`);
}
