/** Serves a folder over HTTP: GET and HEAD, nothing outside the folder, nothing hidden. */
import { createReadStream } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { extname, join, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.txt': 'text/plain; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.jpg': 'image/jpeg',
  '.webp': 'image/webp',
  '.png': 'image/png',
};

interface StaticFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly modified: Date;
}

/** The file below `root` that `urlPath` names (`/` stands for `index.html`); `undefined` when there is none. */
export async function findFile(root: string, urlPath: string): Promise<StaticFile | undefined> {
  const relative = decoded(urlPath.endsWith('/') ? `${urlPath}index.html` : urlPath);
  // A segment with a dot in front is `..` or a hidden file; a backslash or a NUL is somebody trying doors.
  if (relative === undefined || /(?:^|\/)\.|[\\\0]/.test(relative)) return undefined;
  try {
    const base = await realpath(root);
    const path = await realpath(join(base, relative));
    const found = await stat(path);
    // Real paths are compared, so that no symbolic link leads out either.
    if (!path.startsWith(base + sep) || !found.isFile()) return undefined;
    return { path, sizeBytes: found.size, modified: found.mtime };
  } catch {
    return undefined; // Not there, not readable, or a name too long: for a visitor it is all the same.
  }
}

/** Sends a file, or 304 when the visitor's copy is still good. Headers that are set already go with it. */
export async function sendFile(
  request: IncomingMessage,
  response: ServerResponse,
  file: StaticFile,
  status = 200,
): Promise<void> {
  const etag = `"${file.sizeBytes.toString(36)}-${file.modified.getTime().toString(36)}"`;
  response.setHeader('ETag', etag);
  response.setHeader('Last-Modified', file.modified.toUTCString());
  response.setHeader('Cache-Control', 'no-cache'); // "Ask each time": a changed picture shows at the next reload.
  response.setHeader('X-Content-Type-Options', 'nosniff');
  if (status === 200 && request.headers['if-none-match'] === etag) {
    response.writeHead(304).end();
    return;
  }
  response.setHeader('Content-Type', CONTENT_TYPES[extname(file.path)] ?? 'application/octet-stream');
  response.setHeader('Content-Length', file.sizeBytes);
  response.writeHead(status);
  if (request.method === 'HEAD' || file.sizeBytes === 0) {
    response.end();
    return;
  }
  // `end` keeps to the length that was announced, should the file grow meanwhile.
  await pipeline(createReadStream(file.path, { end: file.sizeBytes - 1 }), response);
}

function decoded(urlPath: string): string | undefined {
  try {
    return decodeURIComponent(urlPath);
  } catch {
    return undefined;
  }
}
