import type { LineEvent } from './line-editor.ts';

/** Where somebody who came by telnet is, before the commands. */
export type TelnetLogin =
  | { readonly phase: 'name'; readonly attempts: number }
  | { readonly phase: 'token'; readonly attempts: number; readonly name: string }
  | { readonly phase: 'accepted'; readonly origin: string; readonly token: string }
  | { readonly phase: 'refused' };

export const LOGIN_BEGIN: TelnetLogin = { phase: 'name', attempts: 0 };
const ATTEMPTS_LIMIT = 3;

/**
 * The next step of a login: an origin's name, then its token.
 *
 * @param originOf whose token it is.
 */
export function telnetLogin(
  login: TelnetLogin,
  event: LineEvent,
  originOf: (token: string) => string | undefined,
): TelnetLogin {
  if (event.kind === 'end' || event.kind === 'too_long') return { phase: 'refused' };
  if (event.kind !== 'line') return login;
  switch (login.phase) {
    case 'name':
      return { phase: 'token', attempts: login.attempts, name: event.line.trim().slice(0, 63) };
    case 'token': {
      const token = event.line.trim();
      const origin = originOf(token);
      if (origin !== undefined && origin === login.name) return { phase: 'accepted', origin, token };
      const attempts = login.attempts + 1;
      return attempts < ATTEMPTS_LIMIT ? { phase: 'name', attempts } : { phase: 'refused' };
    }
    case 'accepted':
    case 'refused':
      return login;
  }
}
