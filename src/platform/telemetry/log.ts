import { type DestinationStream, pino, stdTimeFunctions } from 'pino';

/** What a part writes its log to: structured fields first, then a message that never varies. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  /** A log whose every line carries `fields`. */
  child(fields: object): Log;
}

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** JSON lines, one a record, time in ISO 8601. Errors under `err` are written with code, message and cause. */
export function createLog(level: LogLevel, destination?: DestinationStream): Log {
  const options = {
    level,
    base: null,
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    // Fields that could hold a credential never reach the log, whoever puts them in.
    redact: ['', '*.', '*.*.'].flatMap((at) => [`${at}authorization`, `${at}token`]),
  };
  return destination ? pino(options, destination) : pino(options);
}

export const silentLog: Log = createLog('silent');
