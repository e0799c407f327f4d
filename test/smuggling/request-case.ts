/**
 * The words in which the corpus is written: what a client sends, octet for octet, and what a gateway may make of it.
 * Octets are characters of Latin-1 (`\xff` is one octet).
 * @module
 */

/** What the origin must see of one request. */
export interface ForwardedRequest {
  readonly method: string;
  readonly target: string;
  /** The value of its only `Host`. */
  readonly host: string;
  readonly body: string;
  /** Fields that must be there once with this value, by name in lower case. */
  readonly has?: Readonly<Record<string, string>>;
  /** Names, in lower case, of fields that must not be in the head. */
  readonly hasNot?: readonly string[];
  /** Values that no field of the head or the trailer section may have. */
  readonly hasNotValue?: readonly string[];
  /** Names, in lower case, of fields that must not be in the trailer section. */
  readonly hasNotInTrailer?: readonly string[];
}

export type Verdict =
  /**
   * Exactly these requests reach the origin and each is answered. What follows on the connection is a request of its own,
   * or, when `isLast`, is not read: the connection ends.
   */
  | { readonly kind: 'forwarded'; readonly requests: readonly ForwardedRequest[]; readonly isLast: boolean }
  /**
   * After the requests of `before`, nothing of it reaches the origin: one answer with one of these statuses, then the
   * connection ends. `isSilent`: or it ends without an answer, which may be lost when more was sent than was read.
   * `mayGoOn`: its framing is sound, so that the connection may also serve what follows.
   */
  | {
      readonly kind: 'refused';
      readonly statuses: readonly number[];
      readonly isSilent: boolean;
      readonly mayGoOn: boolean;
      readonly before: readonly ForwardedRequest[];
    }
  /**
   * The head may have reached the origin before the fault in the body was seen, but never a whole request: that connection
   * breaks too. The client gets one of these statuses or only the end of its connection.
   */
  | { readonly kind: 'broken'; readonly statuses: readonly number[] };

export interface RequestCase {
  /** A sentence's subject: "a Content-Length with a sign". */
  readonly name: string;
  readonly octets: string;
  /** What our own parser does: the stricter way wherever the RFCs leave a choice. */
  readonly verdict: Verdict;
  /** What is safe as well: an implementation that is built on somebody else's parser may do that. */
  readonly alsoSafe?: Verdict;
  /** The client sends nothing behind it, and ends its half of the connection. */
  readonly isCut?: boolean;
}

export const SITE = 'photos.example';

/** What an attacker wants the origin to take for a request of somebody else. */
export const SMUGGLED = `GET /smuggled HTTP/1.1\r\nHost: ${SITE}\r\n\r\n`;

/** A head with `Host` and these further lines. */
export const head = (requestLine: string, ...lines: readonly string[]): string =>
  [requestLine, `Host: ${SITE}`, ...lines, '', ''].join('\r\n');

export const get = (...lines: readonly string[]): string => head('GET /case HTTP/1.1', ...lines);

export const post = (lines: readonly string[], body: string): string =>
  head('POST /case HTTP/1.1', ...lines) + body;

/** A chunked body that holds what is smuggled, as one chunk. */
export const chunked = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`;

type Expected = Omit<ForwardedRequest, 'method' | 'target' | 'host' | 'body'> & {
  readonly method?: string;
  readonly target?: string;
  readonly host?: string;
  readonly body?: string;
};

export const seen = (request: Expected = {}): ForwardedRequest => ({
  method: 'GET',
  target: '/case',
  host: SITE,
  body: '',
  ...request,
});

export const forwarded = (...requests: readonly Expected[]): Verdict => ({
  kind: 'forwarded',
  requests: requests.map(seen),
  isLast: false,
});

/** As `forwarded`, and then the connection ends. */
export const forwardedLast = (...requests: readonly Expected[]): Verdict => ({
  kind: 'forwarded',
  requests: requests.map(seen),
  isLast: true,
});

const refusal = (
  statuses: readonly number[],
  { isSilent = false, mayGoOn = false, before = [] as readonly Expected[] } = {},
): Verdict => ({ kind: 'refused', statuses, isSilent, mayGoOn, before: before.map(seen) });

export const refused = (...statuses: readonly number[]): Verdict => refusal(statuses);

export const refusedOrSilent = (...statuses: readonly number[]): Verdict =>
  refusal(statuses, { isSilent: true });

/** Well framed, but not to be forwarded: the gateway's own answer, and the connection may go on. */
export const answered = (...statuses: readonly number[]): Verdict => refusal(statuses, { mayGoOn: true });

/** The first requests are sound, the one behind them is not. */
export const refusedAfter = (before: readonly Expected[], ...statuses: readonly number[]): Verdict =>
  refusal(statuses, { before });

export const broken = (...statuses: readonly number[]): Verdict => ({ kind: 'broken', statuses });

export const requestCase = (
  name: string,
  octets: string,
  verdict: Verdict,
  rest: Pick<RequestCase, 'alsoSafe' | 'isCut'> = {},
): RequestCase => ({ name, octets, verdict, ...rest });
