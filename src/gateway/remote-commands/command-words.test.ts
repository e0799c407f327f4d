import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { commandWords } from './command-words.ts';

describe('the words of a command', () => {
  it.for([
    ['', []],
    ['  vm   ls\t', ['vm', 'ls']],
    [`a 'b c' "d e"f`, ['a', 'b c', 'd ef']],
    [`'a"\\' "b'\\"\\\\"`, ['a"\\', `b'"\\`]],
    ['a\\ b \\"', ['a b', '"']],
    [`'' ""`, ['', '']],
    [
      '$(reboot) `id` $HOME ~ * > x | y ; z & {a,b}',
      ['$(reboot)', '`id`', '$HOME', '~', '*', '>', 'x', '|', 'y', ';', 'z', '&', '{a,b}'],
    ],
  ] as const)('are parted by spaces, and nothing in them is expanded: %j', ([line, words]) => {
    expect(commandWords(line)).toEqual(words);
  });

  it('come back as they were when each is put in quotes', () => {
    const quoted = (word: string) => `'${word.replaceAll("'", `'"'"'`)}'`;
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary' }), { maxLength: 20 }), (words) => {
        expect(commandWords(words.map(quoted).join(' '))).toEqual(words);
      }),
    );
  });

  it.for([
    ["a 'b", 'does not end'],
    ['a "b', 'does not end'],
    ['a \\', 'backslash'],
    ['a '.repeat(100), 'at most 64 words, got 100'],
  ] as const)('are refused when it is not plain what they are: %j', ([line, words]) => {
    expect(() => commandWords(line)).toThrow(words);
  });
});
