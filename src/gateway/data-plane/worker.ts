/**
 * A worker of the data plane: a process of its own that serves with the last snapshot it was given, whatever becomes of the
 * control process. Started as `worker <version> <path of the control process's socket>` in the folder of that socket.
 * @module
 */
import { existsSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { messageOf, systemClock, systemRandom } from '../../base/index.ts';
import { RawDataPlane } from './raw-data-plane.ts';
import { Tally } from './tally.ts';
import {
  type FromWorker,
  fromSnapshotData,
  type LogLevel,
  readMessages,
  sendMessage,
  type ToWorker,
  type WorkerOptions,
} from './worker-protocol.ts';

const RECONNECT_MS = 100;
/** What was counted is told at least so often, so that little of it is lost with a worker. */
const REPORT_MS = 1000;

class Worker {
  readonly #socketPath: string;
  readonly #version: string;
  readonly #tally = new Tally();
  #link: Socket | undefined;
  #options: WorkerOptions | undefined;
  #plane: RawDataPlane | undefined;
  #isEnding = false;

  constructor(version: string, socketPath: string) {
    this.#version = version;
    this.#socketPath = socketPath;
  }

  run(): void {
    this.#connect();
    this.#reportLater();
    process.on('SIGTERM', () => void this.#end());
    // The terminal's, meant for the control process, which says what to do.
    process.on('SIGINT', () => undefined);
    process.on('SIGHUP', () => undefined);
  }

  #connect(): void {
    const link = connect(this.#socketPath);
    link.on('connect', () => {
      this.#link = link;
      this.#send({
        type: 'hello',
        pid: process.pid,
        version: this.#version,
        options: this.#options,
      });
    });
    link.on('error', () => undefined);
    link.on('close', () => {
      if (this.#link === link) this.#link = undefined;
      if (this.#isEnding) return;
      // Nobody will come back to a folder that is gone, and nobody starts a worker that never had work.
      if (!this.#plane || !existsSync(dirname(this.#socketPath))) process.exit(1);
      systemClock.after(RECONNECT_MS, () => this.#connect());
    });
    readMessages(link, (message) => void this.#onMessage(message as ToWorker));
  }

  async #onMessage(message: ToWorker): Promise<void> {
    switch (message.type) {
      case 'start':
        await this.#start(message);
        return;
      case 'snapshot':
        this.#plane?.apply(fromSnapshotData(message.snapshot));
        this.#send({ type: 'applied', id: message.id });
        return;
      case 'report':
        this.#tellCounts(message.id);
        return;
      case 'drain':
        await this.#end();
    }
  }

  async #start({ options, snapshot }: Extract<ToWorker, { type: 'start' }>): Promise<void> {
    try {
      this.#plane = await RawDataPlane.start(
        {
          clock: systemClock,
          random: systemRandom,
          log: this.#log,
          observe: (exchange) => this.#tally.count(exchange),
          observeLogLoss: (lines) => this.#tally.countLogLoss(lines),
          wake: (vm) => {
            this.#send({ type: 'wake', vm });
            return this.#link !== undefined;
          },
        },
        options.listen,
        options.more,
        snapshot && fromSnapshotData(snapshot),
      );
      this.#options = this.#plane.chosen(options.listen, options.more);
      this.#send({ type: 'listening', options: this.#options });
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : '';
      this.#send({ type: 'failed', code, message: messageOf(error) });
    }
  }

  async #end(): Promise<void> {
    if (this.#isEnding) return;
    this.#isEnding = true;
    await this.#plane?.close();
    this.#report();
    const link = this.#link;
    if (!link) process.exit(0);
    link.end(() => process.exit(0));
  }

  #report(): void {
    if (this.#link && !this.#tally.isEmpty) this.#tellCounts();
  }

  #tellCounts(id?: number): void {
    this.#send({ type: 'report', id, counted: this.#tally.take(), uses: this.#plane?.vmUses ?? [] });
  }

  #reportLater(): void {
    systemClock.after(REPORT_MS, () => {
      this.#report();
      this.#reportLater();
    });
  }

  #send(message: FromWorker): void {
    if (this.#link) sendMessage(this.#link, message);
  }

  readonly #log = {
    debug: (fields: object, message: string) => this.#tell('debug', fields, message),
    info: (fields: object, message: string) => this.#tell('info', fields, message),
    warn: (fields: object, message: string) => this.#tell('warn', fields, message),
    error: (fields: object, message: string) => this.#tell('error', fields, message),
  };

  #tell(level: LogLevel, fields: object, message: string): void {
    this.#send({ type: 'log', level, fields, message });
  }
}

const [, , version = '', socketPath = ''] = process.argv;
new Worker(version, socketPath).run();
