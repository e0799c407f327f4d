/**
 * The programs that stand beside the gateway, as an operator would set them up: where they come from and how they are
 * configured.
 * @module
 */
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { messageOf } from '../../src/base/index.ts';
import { runCommand } from '../../src/platform/process/index.ts';
import { type Certificate, TLS_VERSION } from './tls-setting.ts';

/** Program and Debian package. */
const PROGRAMS = {
  nginx: 'nginx-light',
  haproxy: 'haproxy',
  wrk: 'wrk',
  h2load: 'nghttp2-client',
  openssl: 'openssl',
  taskset: 'util-linux',
} as const;

export type Programs = Readonly<Record<keyof typeof PROGRAMS, string>>;

/** The path of a program; Debian keeps servers where only root's `PATH` leads. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

/** Where the programs are, after an attempt to install what is missing; or a sentence that says why there are none. */
export async function findPrograms(
  signal: AbortSignal,
  onInstall: (packages: string) => void,
): Promise<Programs | string> {
  const missing = Object.entries(PROGRAMS).filter(([name]) => findProgram(name) === undefined);
  const packages = missing.map(([, debianPackage]) => debianPackage);
  if (packages.length > 0) {
    const command = ['install', '--yes', '--no-install-recommends', ...packages];
    const lacks = `needs ${missing.map(([name]) => name).join(', ')} (apt-get ${command.join(' ')})`;
    if (process.getuid?.() !== 0 || findProgram('apt-get') === undefined) return lacks;
    onInstall(packages.join(', '));
    try {
      await apt(['update'], signal);
      await apt(command, signal);
    } catch (error) {
      signal.throwIfAborted();
      return `${lacks}: ${messageOf(error)}`;
    }
  }
  const found = { nginx: '', haproxy: '', wrk: '', h2load: '', openssl: '', taskset: '' };
  for (const name of Object.keys(PROGRAMS) as (keyof Programs)[]) {
    const path = findProgram(name);
    if (path === undefined) return `there is no program ${name}, though its package is installed`;
    found[name] = path;
  }
  return found;
}

async function apt(args: readonly string[], signal: AbortSignal): Promise<void> {
  // At run level 1 no package's installation starts a service.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  await runCommand('apt-get', ['-o', 'DPkg::Lock::Timeout=120', ...args], {
    env,
    signal,
    timeoutMs: 240_000,
  });
}

/** What a program calls itself: `nginx 1.22.1`, or its name alone when it does not tell. */
export async function versionOf(name: string, path: string, asked = '-v'): Promise<string> {
  // `wrk -v` ends with 1, `nginx -v` speaks on standard error.
  const told = await runCommand('sh', ['-c', '"$0" "$1" 2>&1 || true', path, asked], { timeoutMs: 10_000 });
  return `${name} ${/\d+\.\d+(?:\.\d+)?/.exec(told.stdout)?.[0] ?? ''}`.trim();
}

export const HOST = 'bench.localhost';
/** The same field that the gateway adds, with a value as long as its own. */
const TAG = { name: 'Bng-API-URL', value: '127.0.0.1:18081/version1/virtualmachine' };

/** Names of files and paths on the origin, and their sizes. */
export const SIZES_BYTES = { '1k': 1024, '1m': 2 ** 20 } as const;
export type Body = keyof typeof SIZES_BYTES;

/** Between a client and a proxy. `http` and `https`: HTTP/1.1; `h2`: HTTP/2 over TLS. */
export type Protocol = 'http' | 'https' | 'h2';

/** Where a proxy listens, on 127.0.0.1. */
export interface Ports {
  readonly http: number;
  /** HTTP/1.1 and, by ALPN, HTTP/2. */
  readonly https: number;
}

/** Answers with the fields that came in, so that anybody can see what a proxy adds. */
export const SEEN_PATH = '/seen';

// A connection is never closed because of its age or its number of requests: every proxy keeps what it has.
const NGINX_HTTP = `\
  access_log off;
  keepalive_requests 100000000;
  keepalive_timeout 3600s;
  tcp_nodelay on;`;

const nginx = (folder: string, http: string): string => `\
worker_processes 1;
daemon off;
pid ${folder}/nginx.pid;
events { worker_connections 2048; }
http {
${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `  ${name}_temp_path ${folder}/${name};`).join('\n')}
${NGINX_HTTP}
${http}
}
`;

export const originConfiguration = (folder: string, files: string, port: number): string =>
  nginx(
    folder,
    `\
  sendfile on;
  open_file_cache max=10;
  server {
    listen 127.0.0.1:${port} backlog=1024;
    root ${files};
    location = ${SEEN_PATH} {
      add_header Seen-Tag $http_bng_api_url;
      add_header Seen-Signature-Input $http_signature_input;
      return 200 "seen";
    }
  }`,
  );

export const nginxConfiguration = (
  folder: string,
  { http, https }: Ports,
  originPort: number,
  { certFile, keyFile }: Certificate,
): string =>
  nginx(
    folder,
    `\
  upstream origin {
    server 127.0.0.1:${originPort};
    keepalive 128;
    keepalive_requests 100000000;
    keepalive_timeout 3600s;
  }
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_set_header Host $http_host;
  proxy_set_header ${TAG.name} "${TAG.value}";
  ssl_protocols ${TLS_VERSION};
  ssl_certificate ${certFile};
  ssl_certificate_key ${keyFile};
  server {
    listen 127.0.0.1:${http} backlog=1024;
    listen 127.0.0.1:${https} ssl http2 backlog=1024;
    location / { proxy_pass http://origin; }
    location = /1m { proxy_pass http://origin; proxy_buffering off; }
  }`,
  );

export const haproxyConfiguration = (
  { http, https }: Ports,
  originPort: number,
  { bothFile }: Certificate,
): string => `\
global
  maxconn 4000
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 3600s
  timeout server 3600s
  option http-keep-alive
  http-reuse always
frontend bench
  bind 127.0.0.1:${http}
  bind 127.0.0.1:${https} ssl crt ${bothFile} alpn h2,http/1.1 ssl-min-ver ${TLS_VERSION}
  default_backend origin
backend origin
  http-request set-header ${TAG.name} ${TAG.value}
  server origin 127.0.0.1:${originPort}
`;

export const orillaConfiguration = (
  { http, https }: Ports,
  originPort: number,
  { certFile, keyFile }: Certificate,
): string => `\
gateway:
  listen: 127.0.0.1:${http}
  workers: 1
  tls:
    listen: 127.0.0.1:${https}
    certificates: [{ certFile: ${certFile}, keyFile: ${keyFile} }]
  edgeDomain: edge.localhost
  api: { listen: "127.0.0.1:0" }
  origins:
    bench:
      hosts: [${HOST}]
      upstream: http://127.0.0.1:${originPort}
      offload: { tokenFile: bench.token }
control: { listen: "127.0.0.1:0" }
`;
