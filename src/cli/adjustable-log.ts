import { createLog, type Log, type LogLevel } from '../platform/telemetry/index.ts';

/** A log whose level can be changed; its children follow. */
export class AdjustableLog implements Log {
  readonly #create: (level: LogLevel) => Log;
  #log: Log;

  constructor(level: LogLevel, create: (level: LogLevel) => Log = createLog) {
    this.#create = create;
    this.#log = create(level);
  }

  setLevel(level: LogLevel): void {
    this.#log = this.#create(level);
  }

  debug(fields: object, message: string): void {
    this.#log.debug(fields, message);
  }

  info(fields: object, message: string): void {
    this.#log.info(fields, message);
  }

  warn(fields: object, message: string): void {
    this.#log.warn(fields, message);
  }

  error(fields: object, message: string): void {
    this.#log.error(fields, message);
  }

  child(fields: object): Log {
    return new ChildLog(() => this.#log, fields);
  }
}

/** Asks for its parent at each record: it may be another by then. */
class ChildLog implements Log {
  readonly #parent: () => Log;
  readonly #fields: object;

  constructor(parent: () => Log, fields: object) {
    this.#parent = parent;
    this.#fields = fields;
  }

  debug(fields: object, message: string): void {
    this.#parent().debug({ ...this.#fields, ...fields }, message);
  }

  info(fields: object, message: string): void {
    this.#parent().info({ ...this.#fields, ...fields }, message);
  }

  warn(fields: object, message: string): void {
    this.#parent().warn({ ...this.#fields, ...fields }, message);
  }

  error(fields: object, message: string): void {
    this.#parent().error({ ...this.#fields, ...fields }, message);
  }

  child(fields: object): Log {
    return new ChildLog(this.#parent, { ...this.#fields, ...fields });
  }
}
