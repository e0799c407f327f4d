/**
 * Lines out of the octets that a person or a program types. It knows as much of a terminal as is needed to correct a line:
 *
 *     CR, LF, CR LF, CR NUL   end a line (RFC 854 and a terminal's Enter)
 *     BS, DEL                 take one character back
 *     ^U                      takes the line back
 *     ^C                      drops the line
 *     ^D                      in an empty line: the end
 *     ESC …                   a key of the keyboard: left out
 *
 * Other control characters are left out.
 * @module
 */

export type LineEvent =
  | { readonly kind: 'line'; readonly line: string }
  /** What a terminal that echoes nothing itself is to show. */
  | { readonly kind: 'echo'; readonly text: string }
  /** The line is longer than any command: whoever sends it has lost its way. */
  | { readonly kind: 'too_long' }
  | { readonly kind: 'end' };

/** A reference of 2,048 characters, a digest, a signature, and what names them. */
export const LINE_LIMIT = 4096;

export class LineEditor {
  #line = '';
  #wasReturn = false;
  /** Inside of what a key sends: after ESC, or after ESC [ or ESC O. */
  #escape: 'none' | 'begun' | 'sequence' = 'none';
  readonly #decoder = new TextDecoder();

  /** Takes what came, however it was split. */
  push(octets: Uint8Array): LineEvent[] {
    const events: LineEvent[] = [];
    for (const character of this.#decoder.decode(octets, { stream: true })) {
      const event = this.#take(character);
      if (!event) continue;
      events.push(event);
      if (event.kind === 'line') events.push({ kind: 'echo', text: '\r\n' });
      if (event.kind === 'too_long' || event.kind === 'end') break;
    }
    return events;
  }

  #take(character: string): LineEvent | undefined {
    const wasReturn = this.#wasReturn;
    this.#wasReturn = character === '\r';
    if (wasReturn && (character === '\n' || character === '\0')) return undefined;
    if (this.#escape !== 'none') return this.#escaped(character);
    switch (character) {
      case '\r':
      case '\n':
        return { kind: 'line', line: this.#cut(0) };
      case '\b':
      case '\u007F': {
        const erased = Array.from(this.#line).at(-1);
        if (erased === undefined) return undefined;
        this.#cut(this.#line.length - erased.length);
        return { kind: 'echo', text: '\b \b' };
      }
      case '\u0015': // ^U
        return { kind: 'echo', text: '\b \b'.repeat(Array.from(this.#cut(0)).length) };
      case '\u0003': // ^C
        this.#cut(0);
        return { kind: 'echo', text: '^C\r\n' };
      case '\u0004': // ^D
        return this.#line === '' ? { kind: 'end' } : undefined;
      case '\u001B':
        this.#escape = 'begun';
        return undefined;
    }
    const shown = character === '\t' ? ' ' : character;
    // eslint-disable-next-line no-control-regex -- they are what is left out
    if (/[\u0000-\u001F\u0080-\u009F]/.test(shown)) return undefined;
    if (this.#line.length >= LINE_LIMIT) return { kind: 'too_long' };
    this.#line += shown;
    return { kind: 'echo', text: shown };
  }

  /** ECMA-48 §5.4: what a key sends ends with a character from `@` to `~`. */
  #escaped(character: string): undefined {
    const isIntroduced = this.#escape === 'begun' && /[[O]/.test(character);
    this.#escape =
      isIntroduced || (this.#escape === 'sequence' && !/[@-~]/.test(character)) ? 'sequence' : 'none';
  }

  /** Keeps the line up to `length`. Returns what it was. */
  #cut(length: number): string {
    const line = this.#line;
    this.#line = line.slice(0, length);
    return line;
  }
}
