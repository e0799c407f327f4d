/**
 * The words in which the corpus of answers is written: what an origin sends, octet for octet, and what its client may get.
 * @module
 */

/** What nobody asked for. No client may ever see it. */
export const FORGED = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged';

export type AnswerVerdict =
  /**
   * The client gets this answer. Unless `isReusable`, the connection to the origin is closed afterwards: what it would say
   * next could be anybody's.
   */
  | {
      readonly kind: 'passed';
      readonly status: number;
      readonly body: string;
      readonly isReusable: boolean;
      /** Names, in lower case, of fields that must not be passed on. */
      readonly hasNot: readonly string[];
    }
  /** The client gets 502, or sees its connection end before the answer is whole. The connection to the origin is closed. */
  | { readonly kind: 'failed' };

export interface AnswerCase {
  /** A sentence's subject: "an answer with two lengths". */
  readonly name: string;
  readonly octets: string;
  /** Of the request that is answered. */
  readonly method: 'GET' | 'HEAD';
  /** The origin ends the connection behind it. */
  readonly isLast: boolean;
  readonly verdict: AnswerVerdict;
  /** What is safe as well, for somebody else's parser. */
  readonly alsoSafe?: AnswerVerdict;
}

type Passed = Extract<AnswerVerdict, { kind: 'passed' }>;

export const passed = (what: Partial<Omit<Passed, 'kind'>> = {}): AnswerVerdict => ({
  kind: 'passed',
  status: 200,
  body: 'hello',
  isReusable: true,
  hasNot: [],
  ...what,
});

export const failed: AnswerVerdict = { kind: 'failed' };

export const answerCase = (
  name: string,
  octets: string,
  verdict: AnswerVerdict,
  rest: Partial<Pick<AnswerCase, 'alsoSafe' | 'isLast' | 'method'>> = {},
): AnswerCase => ({ name, octets, verdict, method: 'GET', isLast: false, ...rest });

/** An answer with this status line and these lines. */
export const answer = (statusLine: string, lines: readonly string[], body = ''): string =>
  `${[statusLine, ...lines, '', ''].join('\r\n')}${body}`;

export const ok = (lines: readonly string[], body = 'hello'): string =>
  answer('HTTP/1.1 200 OK', lines, body);
