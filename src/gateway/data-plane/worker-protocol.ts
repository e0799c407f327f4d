/**
 * What the control process and the workers of the data plane say to each other: JSON, a line a message, over a Unix socket on
 * which the control process listens. A worker that loses the connection goes on with the last snapshot and keeps trying, so
 * that the next control process finds it.
 * @module
 */
import type { Socket } from 'node:net';
import type { Listen } from '../../platform/sockets/index.ts';
import { type SigningMaterial, signingKeyFrom } from '../tag-key.ts';
import type { Route, RouteSnapshot } from './data-plane.ts';
import type { RawDataPlaneOptions } from './raw-data-plane.ts';
import type { OriginTally } from './tally.ts';
import type { VmUse } from './vm-uses.ts';

/** Where a worker listens; the same for all, so that they share the ports. */
export interface WorkerOptions {
  readonly listen: Listen;
  readonly more: RawDataPlaneOptions;
}

/** Whether a worker listens as it is wanted; a port that the kernel was to choose is right whichever it is. */
export function fits(options: unknown, wanted: unknown): boolean {
  if (!isRecord(options) || !isRecord(wanted)) return options === wanted;
  return Object.keys({ ...options, ...wanted }).every(
    (key) => (key === 'port' && wanted[key] === 0) || fits(options[key], wanted[key]),
  );
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null;

export type ToWorker =
  /** Listen so. Comes once, before any snapshot but the one with which to begin. */
  | {
      readonly type: 'start';
      readonly options: WorkerOptions;
      readonly snapshot?: SnapshotData | undefined;
    }
  | { readonly type: 'snapshot'; readonly id: number; readonly snapshot: SnapshotData }
  /** Tell what was counted. */
  | { readonly type: 'report'; readonly id: number }
  /** Take no new connection, let what is under way end, and end. */
  | { readonly type: 'drain' };

export type FromWorker =
  /** The first message of a connection. A worker that runs already tells how it was started. */
  | {
      readonly type: 'hello';
      readonly pid: number;
      readonly version: string;
      readonly options?: WorkerOptions | undefined;
    }
  /** With the ports that the kernel chose where it was to choose. */
  | { readonly type: 'listening'; readonly options: WorkerOptions }
  | { readonly type: 'failed'; readonly code: string; readonly message: string }
  | { readonly type: 'applied'; readonly id: number }
  | {
      readonly type: 'report';
      readonly id?: number | undefined;
      readonly counted: readonly (readonly [string, OriginTally])[];
      readonly uses: readonly (readonly [vm: string, use: VmUse])[];
    }
  /** Somebody asks for a VM that sleeps. */
  | { readonly type: 'wake'; readonly vm: string }
  | { readonly type: 'log'; readonly level: LogLevel; readonly fields: object; readonly message: string };

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

type RouteData = Omit<Route, 'signingKey' | 'upstream'> & {
  readonly upstream: Omit<Route['upstream'], 'lookup'>;
  /** Its place in `keys`. */
  readonly key?: number | undefined;
};

/** A snapshot as plain data. */
export type SnapshotData = Omit<RouteSnapshot, 'routes'> & {
  readonly routes: readonly (readonly [host: string, route: RouteData])[];
  readonly keys: readonly SigningMaterial[];
};

export function toSnapshotData({ routes, ...rest }: RouteSnapshot): SnapshotData {
  const keys: SigningMaterial[] = [];
  const places = new Map<string, number>();
  const placeOf = (key: NonNullable<Route['signingKey']>): number => {
    const known = places.get(key.keyId);
    if (known !== undefined) return known;
    places.set(key.keyId, keys.length);
    return keys.push(key.material) - 1;
  };
  return {
    ...rest,
    routes: Array.from(routes, ([host, { signingKey, ...route }]) => [
      host,
      { ...route, key: signingKey && placeOf(signingKey) },
    ]),
    keys,
  };
}

export function fromSnapshotData({ routes, keys, ...rest }: SnapshotData): RouteSnapshot {
  const signingKeys = keys.map(signingKeyFrom);
  return {
    ...rest,
    routes: new Map(
      routes.map(([host, { key, ...route }]) => [
        host,
        { ...route, signingKey: key === undefined ? undefined : signingKeys[key] },
      ]),
    ),
  };
}

/** More than any snapshot has; only our own processes speak here, but a wrong program may have connected. */
const LINE_LIMIT_BYTES = 256 * 2 ** 20;

/** Calls `onMessage` for each message; ends the connection at what is none. */
export function readMessages(socket: Socket, onMessage: (message: unknown) => void): void {
  let unread: string[] = [];
  let unreadLength = 0;
  socket.setEncoding('utf8');
  socket.on('data', (text: string) => {
    let from = 0;
    for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', from)) {
      const line = unread.join('') + text.slice(from, at);
      unread = [];
      unreadLength = 0;
      from = at + 1;
      const message = parse(line);
      if (message === undefined) {
        socket.destroy();
        return;
      }
      onMessage(message);
    }
    if (from === text.length) return;
    unread.push(text.slice(from));
    unreadLength += text.length - from;
    if (unreadLength > LINE_LIMIT_BYTES) socket.destroy();
  });
}

export function sendMessage(socket: Socket, message: ToWorker | FromWorker): void {
  if (!socket.destroyed) socket.write(`${JSON.stringify(message)}\n`);
}

function parse(line: string): unknown {
  try {
    const message: unknown = JSON.parse(line);
    return typeof message === 'object' && message !== null ? message : undefined;
  } catch {
    return undefined;
  }
}
