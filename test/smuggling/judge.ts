import type { ReceivedRequest } from '../support/recording-origin.ts';
import { statusOf, valuesOf } from '../support/strict-http.ts';
import type { Transcript } from '../support/transcript.ts';
import type { ForwardedRequest, Verdict } from './request-case.ts';

/** What was seen of one case. */
export interface Observed {
  readonly requests: readonly ReceivedRequest[];
  /** What the origin could not read. */
  readonly faults: readonly string[];
  readonly transcript: Transcript;
}

/** The tag of the gateway under test. */
export const TAG = { name: 'Bng-API-Server', value: '192.0.2.1' } as const;

/** What a gateway adds itself, once, whatever the client claims. */
const ADDED = { [TAG.name.toLowerCase()]: TAG.value, 'x-forwarded-for': '127.0.0.1' };

/** Never passed on. `connection` is the gateway's own. */
const NEVER = [
  'expect',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'forwarded',
];

/** What differs from the verdict, in words; empty when nothing does. */
export function deviations(
  verdict: Verdict,
  { requests, faults, transcript }: Observed,
  probe: ForwardedRequest | undefined,
): string[] {
  const found = faults.map((fault) => `the origin could read it in two ways: ${fault}`);
  if (transcript.fault !== undefined) {
    found.push(
      `the client could not read ${transcript.fault} in ${JSON.stringify(transcript.rest.slice(0, 300))}`,
    );
  }
  const statuses = transcript.answers.map(statusOf);
  const compare = (expected: readonly ForwardedRequest[], answers: readonly number[]): string[] => [
    ...(JSON.stringify(statuses) === JSON.stringify(answers)
      ? []
      : [`the client got ${JSON.stringify(statuses)} instead of ${JSON.stringify(answers)}`]),
    ...requestDeviations(expected, requests),
    ...answerDeviations(requests, transcript),
  ];
  const well = (expected: readonly ForwardedRequest[]) => expected.map(() => 200);
  const withProbe = (expected: readonly ForwardedRequest[]) => (probe ? [...expected, probe] : expected);

  if (verdict.kind === 'forwarded') {
    const expected = verdict.isLast ? verdict.requests : withProbe(verdict.requests);
    return [...found, ...compare(expected, well(expected))];
  }
  if (verdict.kind === 'broken') {
    if (statuses.some((status) => !verdict.statuses.includes(status)) || statuses.length > 1) {
      found.push(`the client got ${JSON.stringify(statuses)}`);
    }
    return [...found, ...requestDeviations([], requests)];
  }
  const { before, statuses: allowed, isSilent, mayGoOn } = verdict;
  const refusal = statuses[before.length];
  if (refusal === undefined ? !isSilent : !allowed.includes(refusal)) {
    found.push(`it was answered with ${refusal} instead of ${allowed.join(' or ')}`);
  }
  const answers = [...well(before), ...(refusal === undefined ? [] : [refusal])];
  const hasGoneOn = mayGoOn && probe !== undefined && requests.length > before.length;
  return [
    ...found,
    ...(hasGoneOn
      ? [...compareGoneOn(statuses, answers), ...requestDeviations(withProbe(before), requests)]
      : compare(before, answers)),
  ];
}

const compareGoneOn = (statuses: readonly number[], answers: readonly number[]): string[] =>
  JSON.stringify(statuses) === JSON.stringify([...answers, 200])
    ? []
    : [`the client got ${JSON.stringify(statuses)} when the connection went on`];

function requestDeviations(expected: readonly ForwardedRequest[], got: readonly ReceivedRequest[]): string[] {
  const found: string[] = [];
  const lines = (requests: readonly { method: string; target: string }[]) =>
    requests.map(({ method, target }) => `${method} ${target}`).join(', ');
  if (lines(got) !== lines(expected)) {
    return [`the origin got [${lines(got)}] instead of [${lines(expected)}]`];
  }
  for (const [index, request] of got.entries()) {
    found.push(...fieldDeviations(expected[index] as ForwardedRequest, request));
  }
  return found;
}

function fieldDeviations(expected: ForwardedRequest, { fields, trailers, body }: ReceivedRequest): string[] {
  const found: string[] = [];
  if (body !== expected.body) {
    found.push(`the body is ${JSON.stringify(body.slice(0, 200))}, ${body.length} octets`);
  }
  const must = { ...ADDED, ...expected.has, host: expected.host };
  for (const [name, value] of Object.entries(must)) {
    const values = valuesOf(fields, name);
    if (values.length !== 1 || values[0] !== value) {
      found.push(`${name} is ${JSON.stringify(values)} instead of ${JSON.stringify(value)}`);
    }
  }
  for (const name of [...NEVER, ...(expected.hasNot ?? [])]) {
    if (valuesOf(fields, name).length > 0) found.push(`${name} was passed on`);
  }
  for (const name of expected.hasNotInTrailer ?? []) {
    if (valuesOf(trailers, name).length > 0) found.push(`the trailer ${name} was passed on`);
  }
  for (const [name, value] of [...fields, ...trailers]) {
    if (expected.hasNotValue?.includes(value)) found.push(`${name} has the client's word`);
    const isOurs = name.toLowerCase() === TAG.name.toLowerCase();
    if (/^(?:bng|signature|orilla)(?:[-_]|$)/i.test(name) && !isOurs) found.push(`${name} was passed on`);
  }
  return found;
}

/** Each answer must belong to its own request: the origin names in it what was asked for. */
function answerDeviations(requests: readonly ReceivedRequest[], { answers }: Transcript): string[] {
  const bodies = answers.filter((answer) => statusOf(answer) === 200).map(({ body }) => body);
  const own = requests.map(({ method, target }) => (method === 'HEAD' ? '' : `${method} ${target}\n`));
  return JSON.stringify(bodies) === JSON.stringify(own)
    ? []
    : [`the client got ${JSON.stringify(bodies)} for ${JSON.stringify(own)}`];
}
