import { gatewayError } from '../errors.ts';

/** More than any command has. */
const WORDS_LIMIT = 64;

/**
 * Splits a line into words as a shell does, and does nothing else that a shell does: nothing is expanded, substituted or
 * redirected. Spaces part words; what is between `'` and `'` is taken as it is; between `"` and `"`, and outside of
 * quotes, a backslash takes the character behind it as it is.
 *
 * @throws `command_invalid` for a quote that does not end, and for too many words.
 */
export function commandWords(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote: string | undefined;
  for (let at = 0; at < line.length; at += 1) {
    const character = line.charAt(at);
    if (character === quote) {
      quote = undefined;
    } else if (quote === undefined && /['"]/.test(character)) {
      quote = character;
      word ??= '';
    } else if (character === '\\' && quote !== "'") {
      at += 1;
      if (at === line.length)
        throw gatewayError('command_invalid', 'nothing stands behind the last backslash');
      word = (word ?? '') + line.charAt(at);
    } else if (quote === undefined && /\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      word = (word ?? '') + character;
    }
  }
  if (quote !== undefined) throw gatewayError('command_invalid', `the quote ${quote} does not end`);
  if (word !== undefined) words.push(word);
  if (words.length > WORDS_LIMIT) {
    throw gatewayError('command_invalid', `expected at most ${WORDS_LIMIT} words, got ${words.length}`);
  }
  return words;
}
