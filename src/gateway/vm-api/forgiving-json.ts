import { messageOf } from '../../base/index.ts';
import { gatewayError } from '../errors.ts';

/**
 * Reads JSON as RFC 8259 has it, and as the document's own example has it: with a comma before a closing bracket
 * [gateway G4].
 *
 * @throws `invalid_json`
 */
export function parseForgivingJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (strictError) {
    try {
      return JSON.parse(withoutTrailingCommas(text));
    } catch {
      throw gatewayError('invalid_json', `the body is not JSON: ${messageOf(strictError)}`, strictError);
    }
  }
}

/** Strings are matched first, so that a comma inside one stays. */
const withoutTrailingCommas = (text: string): string =>
  text.replace(/"(?:[^"\\]|\\.)*"|,(?=\s*[}\]])/gs, (match) => (match === ',' ? '' : match));
