import { readAnswer, type StrictMessage, statusOf } from './strict-http.ts';

/** What a client got over one connection. */
export interface Transcript {
  /** Whole final answers, in order. */
  readonly answers: readonly StrictMessage[];
  /** Statuses of the interim answers. */
  readonly interim: readonly number[];
  /** What is left and is no whole answer; empty when the connection ended well. */
  readonly rest: string;
  /** Why the rest can never become an answer. */
  readonly fault?: string;
}

/**
 * Reads the answers to requests by these methods, in order; what answers no request of the list is taken for the answer to
 * a GET.
 */
export function readTranscript(octets: string, methods: readonly string[], isEnded: boolean): Transcript {
  const answers: StrictMessage[] = [];
  const interim: number[] = [];
  let rest = octets;
  while (rest !== '') {
    const reading = readAnswer(rest, methods[answers.length] ?? 'GET', isEnded);
    if (reading.kind === 'fault') return { answers, interim, rest, fault: reading.reason };
    if (reading.kind === 'partial') break;
    rest = rest.slice(reading.sizeOctets);
    const status = statusOf(reading.message);
    if (status < 200 && status !== 101) interim.push(status);
    else answers.push(reading.message);
  }
  return { answers, interim, rest };
}
