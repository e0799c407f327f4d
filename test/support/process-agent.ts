import { spawn } from 'node:child_process';
import { createWriteStream, type WriteStream } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';

interface Running {
  readonly output: { out: string; err: string };
  ended?: { exitcode?: number; signal?: number };
}

/**
 * QEMU's guest agent as far as it is used, for machines that are processes: programs run on this host, and files are written
 * below `root`. It has one visitor at a time, as a machine's port has.
 */
export class ProcessAgent implements AsyncDisposable {
  readonly #server: Server;
  readonly #root: string;
  readonly #running = new Map<number, Running>();
  readonly #files: WriteStream[] = [];
  /** What it says before its next answers, as a guest of an enemy would; a string instead of the answer. */
  readonly interjections: { before?: string; instead?: string }[] = [];
  /** Names of programs to what runs in their place: `[program, ...first arguments]`. */
  readonly programs: Record<string, readonly [string, ...string[]]> = {};
  /** How many requests it does not hear, as one that is not there yet. */
  unheard = 0;

  private constructor(root: string) {
    this.#root = root;
    this.#server = createServer((socket) => this.#serve(socket));
  }

  static async listen(path: string, root: string): Promise<ProcessAgent> {
    const agent = new ProcessAgent(root);
    await new Promise<void>((resolve, reject) => {
      agent.#server.once('error', reject).listen(path, resolve);
    });
    agent.#server.unref();
    return agent;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
  }

  #serve(socket: Socket): void {
    let received = '';
    socket.on('error', () => undefined);
    socket.setEncoding('latin1').on('data', (text: string) => {
      received += text;
      for (let end = received.indexOf('\n'); end >= 0; end = received.indexOf('\n')) {
        const line = received.slice(0, end);
        received = received.slice(end + 1);
        if (this.unheard > 0) {
          this.unheard -= 1;
          continue;
        }
        const delimiter = line.lastIndexOf('\xff');
        if (delimiter >= 0) socket.write('{"error": {"class": "GenericError", "desc": "stray"}}\n');
        void this.#take(socket, Buffer.from(line.slice(delimiter + 1), 'latin1').toString());
      }
    });
  }

  async #take(socket: Socket, line: string): Promise<void> {
    const { execute, arguments: args } = JSON.parse(line) as { execute: string; arguments: never };
    const { before = '', instead } = this.interjections.shift() ?? {};
    const prefix = execute === 'guest-sync-delimited' ? '\xff' : '';
    const answer = await this.#answer(execute, args).catch((error: Error) => ({
      error: { class: 'GenericError', desc: error.message },
    }));
    socket.write(`${before}${instead ?? `${prefix}${JSON.stringify(answer)}\n`}`, 'latin1');
  }

  async #answer(command: string, args: Record<string, never>): Promise<{ return: unknown }> {
    switch (command) {
      case 'guest-sync-delimited':
        return { return: args['id'] };
      case 'guest-ping':
      case 'guest-file-close':
        if (command === 'guest-file-close') await this.#closeFile(args['handle'] ?? 0);
        return { return: {} };
      case 'guest-exec':
        return { return: { pid: await this.#exec(args as never) } };
      case 'guest-exec-status': {
        const { output, ended } = this.#running.get(args['pid'] ?? 0)!;
        if (!ended) return { return: { exited: false } };
        const outputs = { 'out-data': output.out, 'err-data': output.err };
        return { return: { exited: true, ...ended, ...outputs } };
      }
      case 'guest-file-open':
        this.#files.push(createWriteStream(join(this.#root, String(args['path']))));
        return { return: this.#files.length - 1 };
      case 'guest-file-write': {
        const octets = Buffer.from(String(args['buf-b64']), 'base64');
        this.#files[args['handle'] ?? 0]?.write(octets);
        return { return: { count: octets.length } };
      }
      default:
        throw new Error(`The command ${command} has not been found`);
    }
  }

  async #closeFile(handle: number): Promise<void> {
    await new Promise((resolve) => this.#files[handle]?.end(resolve));
  }

  async #exec(asked: {
    path: string;
    arg: string[];
    env?: string[];
    'input-data'?: string;
  }): Promise<number> {
    const [program, ...first] = this.programs[asked.path] ?? [asked.path];
    const env = asked.env && Object.fromEntries(asked.env.map((entry) => entry.split(/=(.*)/s).slice(0, 2)));
    const child = spawn(program, [...first, ...asked.arg], { cwd: this.#root, ...(env && { env }) });
    const output: { out: Buffer[]; err: Buffer[] } = { out: [], err: [] };
    child.stdout.on('data', (chunk: Buffer) => output.out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => output.err.push(chunk));
    child.stdin.on('error', () => undefined).end(Buffer.from(asked['input-data'] ?? '', 'base64'));
    await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject));
    const running: Running = { output: { out: '', err: '' } };
    this.#running.set(child.pid ?? 0, running);
    child.once('close', (code, signal) => {
      running.output.out = Buffer.concat(output.out).toString('base64');
      running.output.err = Buffer.concat(output.err).toString('base64');
      running.ended = code === null ? { signal: signal === 'SIGKILL' ? 9 : 15 } : { exitcode: code };
    });
    return child.pid ?? 0;
  }
}
