/**
 * Telnet (RFC 854): octets of text, between them commands that begin with IAC (255):
 *
 *     IAC IAC                              one octet 255 of text
 *     IAC WILL|WONT|DO|DONT <option>       what either side does or asks for (251 … 254)
 *     IAC SB <option> … IAC SE             more of an option (250 … 240)
 *     IAC <command>                        interrupt (244), abort (245), end of file (236), are you there (246), …
 *
 * Nothing is agreed to but that the server echoes, which it offers itself.
 * @module
 */

const IAC = 255;
const DONT = 254;
const DO = 253;
const WONT = 252;
const WILL = 251;
const SB = 250;
const SE = 240;
const ARE_YOU_THERE = 246;
const INTERRUPT = 244;
const END_OF_FILE = 236;
const ECHO = 1; // RFC 857

/** The server says that it echoes, and does not: the terminal shows nothing of what is typed. */
export const HIDE_INPUT = Uint8Array.of(IAC, WILL, ECHO);
export const SHOW_INPUT = Uint8Array.of(IAC, WONT, ECHO);

/** Text for the other side: line ends as RFC 854 has them, IAC doubled. */
export function telnetText(text: string): Uint8Array {
  const octets = new TextEncoder().encode(text.replace(/\r?\n/g, '\r\n'));
  // UTF-8 has no octet 255.
  return octets;
}

/** What came: text, and what is to be sent back at once. */
export interface TelnetInput {
  readonly text: Uint8Array;
  readonly replies: Uint8Array;
}

type State = 'text' | 'command' | 'option' | 'more' | 'more_command';

export class TelnetDecoder {
  #state: State = 'text';
  #verb = 0;

  /** Takes what came, however it was split. */
  push(octets: Uint8Array): TelnetInput {
    const text: number[] = [];
    const replies: number[] = [];
    for (const octet of octets) this.#take(octet, text, replies);
    return { text: Uint8Array.from(text), replies: Uint8Array.from(replies) };
  }

  #take(octet: number, text: number[], replies: number[]): void {
    switch (this.#state) {
      case 'text':
        if (octet === IAC) this.#state = 'command';
        else text.push(octet);
        return;
      case 'command':
        this.#state = 'text';
        if (octet >= WILL && octet <= DONT) {
          this.#verb = octet;
          this.#state = 'option';
        } else if (octet === SB) this.#state = 'more';
        else if (octet === IAC) text.push(IAC);
        else if (octet === INTERRUPT)
          text.push(3); // as ^C
        else if (octet === END_OF_FILE)
          text.push(4); // as ^D
        else if (octet === ARE_YOU_THERE) replies.push(...telnetText('[yes]\n'));
        return;
      case 'option':
        this.#state = 'text';
        // What the other side will not do, or asks not to be done, is as it is. Only changes are answered, or two sides
        // that answer each other never end (RFC 854, "3.").
        if (this.#verb === WILL) replies.push(IAC, DONT, octet);
        if (this.#verb === DO && octet !== ECHO) replies.push(IAC, WONT, octet);
        return;
      case 'more':
        if (octet === IAC) this.#state = 'more_command';
        return;
      case 'more_command':
        this.#state = octet === SE ? 'text' : 'more';
        return;
    }
  }
}
