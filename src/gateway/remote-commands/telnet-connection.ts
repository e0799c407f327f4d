import type { Socket } from 'node:net';
import type { Clock } from '../../base/index.ts';
import type { RefusedLogins } from '../refused-logins.ts';
import type { CommandRunner } from './command-runner.ts';
import { CommandSession } from './command-session.ts';
import { LineEditor, type LineEvent } from './line-editor.ts';
import { HIDE_INPUT, SHOW_INPUT, TelnetDecoder, telnetText } from './telnet-codec.ts';
import { LOGIN_BEGIN, telnetLogin } from './telnet-login.ts';

export interface TelnetDeps {
  readonly clock: Clock;
  readonly runner: CommandRunner;
  readonly refused: RefusedLogins;
  /** Whose token it is. */
  readonly originOf: (token: string) => string | undefined;
}

const LOGIN_LIMIT_MS = 60_000;

/** One connection by telnet: a login, then commands. */
export function serveTelnet({ clock, runner, refused, originOf }: TelnetDeps, socket: Socket): void {
  const address = socket.remoteAddress ?? '';
  const decoder = new TelnetDecoder();
  const editor = new LineEditor();
  const write = (text: string) => void socket.write(telnetText(text));
  const terminal = { write, end: () => void socket.end() };
  const tooLong = clock.after(LOGIN_LIMIT_MS, () => void socket.destroy());
  let login = LOGIN_BEGIN;
  let session: CommandSession | undefined;

  const logIn = (event: LineEvent) => {
    const before = login;
    login = telnetLogin(login, event, originOf);
    if (login === before) return;
    if (before.phase === 'token') {
      socket.write(SHOW_INPUT);
      if (login.phase !== 'accepted') {
        refused.record({ way: 'telnet', address, name: before.name, reason: 'token_unknown' });
      }
      write(login.phase === 'accepted' ? '\n' : '\nthis is no token of that origin\n');
    }
    switch (login.phase) {
      case 'name':
        write('origin: ');
        break;
      case 'token':
        socket.write(HIDE_INPUT);
        write('token: ');
        break;
      case 'accepted': {
        tooLong[Symbol.dispose]();
        const { origin, token } = login;
        const mayStill = () => originOf(token) === origin;
        const caller = { origin, address, way: 'telnet' as const, mayStill };
        const run = runner.run.bind(runner);
        session = new CommandSession({ clock, terminal, run }, { caller, echoes: false });
        session.start();
        break;
      }
      case 'refused':
        socket.end();
        break;
    }
  };

  write('origin: ');
  socket.on('data', (octets: Buffer) => {
    const { text, replies } = decoder.push(octets);
    if (replies.length > 0) socket.write(replies);
    for (const event of editor.push(text)) {
      if (session) session.take(event);
      else logIn(event);
    }
  });
  socket.on('end', () => (session ? session.finish() : socket.end()));
  socket.on('close', () => {
    tooLong[Symbol.dispose]();
    void session?.close();
  });
}
