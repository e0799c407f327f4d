import type { Socket } from 'node:net';
import ssh2 from 'ssh2';
import type { Clock } from '../../base/index.ts';
import type { Log } from '../../platform/telemetry/index.ts';
import type { RefusedLogins } from '../refused-logins.ts';
import type { Caller } from './command.ts';
import type { CommandRunner } from './command-runner.ts';
import { CommandSession } from './command-session.ts';
import { LineEditor } from './line-editor.ts';
import { isAuthorized } from './ssh-key.ts';

export interface SshDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly runner: CommandRunner;
  readonly refused: RefusedLogins;
  /** The lines of `authorized_keys` of an origin; none for one that is not there. */
  readonly keysOf: (origin: string) => readonly string[];
  /** In the format of OpenSSH: secret. */
  readonly hostKey: string;
}

const LOGIN_LIMIT_MS = 30_000;
/** Programs offer all keys that they have, one after the other. */
const ATTEMPTS_LIMIT = 12;
const SESSIONS_LIMIT = 4;
/** A connection on which nothing is asked: longer than any command or session may take. */
const IDLE_LIMIT_MS = 10 * 60_000;

/** What OpenSSH and every client of these years speak, and nothing older. */
const ALGORITHMS: ssh2.Algorithms = {
  kex: ['curve25519-sha256', 'curve25519-sha256@libssh.org', 'ecdh-sha2-nistp256'],
  serverHostKey: ['ssh-ed25519'],
  cipher: ['chacha20-poly1305@openssh.com', 'aes256-gcm@openssh.com', 'aes128-gcm@openssh.com'],
  hmac: ['hmac-sha2-256-etm@openssh.com', 'hmac-sha2-512-etm@openssh.com'],
  compress: ['none'],
};

/**
 * One connection by SSH: a login by a public key, then single commands or a session of them. There is no shell behind it, no
 * file transfer and no forwarding: what is not listened for here, ssh2 refuses.
 */
export function serveSsh(deps: SshDeps, socket: Socket): void {
  const { clock, log, refused } = deps;
  const address = socket.remoteAddress ?? '';
  const config = { hostKeys: [deps.hostKey], algorithms: ALGORITHMS, ident: 'orilla' };
  const gone = new AbortController();
  let idle: Disposable | undefined;
  let lastName: string | undefined;
  let accepted: Pick<Caller, 'origin' | 'mayStill'> | undefined;
  // By what is asked, not by what comes: who answers our probes may be asleep all the same.
  const watch = () => {
    idle?.[Symbol.dispose]();
    if (gone.signal.aborted) return;
    idle = clock.after(IDLE_LIMIT_MS, () => void socket.destroy());
  };
  const tooLong = clock.after(LOGIN_LIMIT_MS, () => void socket.destroy());
  socket.on('close', () => {
    tooLong[Symbol.dispose]();
    idle?.[Symbol.dispose]();
    gone.abort(new Error('the connection is closed'));
    if (!accepted && lastName !== undefined) {
      refused.record({ way: 'ssh', address, name: lastName, reason: 'key_unknown' });
    }
  });

  const server = new ssh2.Server(config, (client) => {
    let attempts = 0;
    client.on('authentication', (context) => {
      const { username } = context;
      lastName = username;
      if (context.method === 'none') {
        context.reject(['publickey']);
        return;
      }
      attempts += 1;
      if (attempts > ATTEMPTS_LIMIT) {
        client.end();
        return;
      }
      if (context.method !== 'publickey') {
        context.reject(['publickey']);
        return;
      }
      const { key, signature, blob } = context;
      const proof = signature && blob ? { signed: blob, signature } : undefined;
      const isKnown = isAuthorized(deps.keysOf(username), { algorithm: key.algo, data: key.data, proof });
      if (!isKnown) {
        context.reject(['publickey']);
        return;
      }
      if (proof) {
        const mayStill = () => isAuthorized(deps.keysOf(username), { algorithm: key.algo, data: key.data });
        accepted = { origin: username, mayStill };
      }
      context.accept();
    });
    client.on('ready', () => {
      tooLong[Symbol.dispose]();
      if (accepted) serveSessions(deps, client, { ...accepted, address, way: 'ssh' }, gone.signal, watch);
      watch();
    });
    // What a peer does wrong is its own affair: the connection ends.
    client.on('error', (error) => log.debug({ reason: error.message }, 'ssh connection failed'));
  });
  server.injectSocket(socket);
}

/**
 * @param signal aborts when the connection is gone.
 * @param watch is called whenever something is asked.
 */
function serveSessions(
  { clock, runner }: SshDeps,
  client: ssh2.Connection,
  caller: Caller,
  signal: AbortSignal,
  watch: () => void,
): void {
  let sessions = 0;
  client.on('session', (accept, reject) => {
    if (sessions >= SESSIONS_LIMIT) {
      reject();
      return;
    }
    sessions += 1;
    watch();
    let hasTerminal = false;
    const session = accept();
    session.on('close', () => {
      sessions -= 1;
      watch();
    });
    session.on('pty', (acceptPty) => {
      hasTerminal = true;
      acceptPty?.();
    });
    session.on('exec', (acceptExec, _reject, { command }) => {
      watch();
      const channel = acceptExec();
      channel.on('error', () => undefined);
      // What a program might write to its input is for nobody.
      channel.resume();
      void runner.run(command, caller, signal).then(({ output, errors, status }) => {
        if (signal.aborted) return;
        channel.write(output);
        channel.stderr.write(errors);
        channel.exit(status);
        channel.end();
      });
    });
    session.on('shell', (acceptShell) => {
      const channel = acceptShell();
      channel.on('error', () => undefined);
      const editor = new LineEditor();
      const terminal = {
        write: (text: string) => void channel.write(hasTerminal ? text.replace(/\r?\n/g, '\r\n') : text),
        end: (status: number) => {
          channel.exit(status);
          channel.end();
        },
      };
      const commands = new CommandSession(
        { clock, terminal, run: runner.run.bind(runner) },
        { caller, echoes: hasTerminal },
      );
      channel.on('data', (octets: Buffer) => {
        watch();
        for (const event of editor.push(octets)) commands.take(event);
      });
      channel.on('end', () => commands.finish());
      channel.on('close', () => void commands.close());
      signal.addEventListener('abort', () => void commands.close(), { once: true });
      commands.start();
    });
  });
}
