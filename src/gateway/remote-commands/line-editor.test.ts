import { describe, expect, it } from 'vitest';
import { LINE_LIMIT, LineEditor } from './line-editor.ts';

const octets = (text: string) => new TextEncoder().encode(text);
const linesOf = (text: string) =>
  new LineEditor().push(octets(text)).flatMap((event) => (event.kind === 'line' ? [event.line] : []));

describe('a line editor', () => {
  it.for([
    ['each way to end a line', 'a\rb\nc\r\nd\r\0e\n', ['a', 'b', 'c', 'd', 'e']],
    ['empty lines', '\r\n\r\n', ['', '']],
    ['a character taken back', 'vm lx\u007Fs\n', ['vm ls']],
    ['more taken back than there is', '\b\b\ba\n', ['a']],
    ['a line taken back, or dropped', 'abc\u0015x\nabc\u0003y\n', ['x', 'y']],
    ['keys left out', 'a\u001B[Ab\u001BOPc\u001B[1;5Cd\u001Bze\n', ['abcde']],
    ['control characters left out', 'a\u0007b\u0000c\td\n', ['abc d']],
    ['letters of several octets', 'ñ€😀x\u007F\n', ['ñ€😀']],
  ] as const)('knows %s', ([, typed, lines]) => {
    expect(linesOf(typed)).toEqual(lines);
  });

  it('makes the same of what came, wherever it was split', () => {
    const typed = octets('vm l\u001B[Ax\bs\r\nñ€\u0015a "b c"\r\0end\n');
    const whole = JSON.stringify(new LineEditor().push(typed));
    for (let at = 0; at <= typed.length; at += 1) {
      const editor = new LineEditor();
      const events = [...editor.push(typed.subarray(0, at)), ...editor.push(typed.subarray(at))];
      expect(JSON.stringify(events)).toBe(whole);
    }
  });

  it('tells what a terminal is to show, and an erased letter as one', () => {
    const shown = new LineEditor()
      .push(octets('a😀\u007F\n'))
      .map((event) => (event.kind === 'echo' ? event.text : ''))
      .join('');
    expect(shown).toBe('a😀\b \b\r\n');
  });

  it('ends at ^D in an empty line only, and at a line that never ends', () => {
    expect(new LineEditor().push(octets('a\u0004')).at(-1)).toMatchObject({ kind: 'echo' });
    expect(new LineEditor().push(octets('\u0004')).at(-1)).toEqual({ kind: 'end' });
    const endless = new LineEditor().push(octets('x'.repeat(LINE_LIMIT + 100)));
    expect(endless.at(-1)).toEqual({ kind: 'too_long' });
  });
});
