import { describe, expect, test } from 'vitest';
import { answerer, judge } from './verdict.ts';
import type { Seen } from './visitor.ts';

const site = { sha256: (path: string) => (path === '/' ? 'right' : undefined) };

const seen = (change: Partial<Seen> = {}, method: Seen['asked']['method'] = 'GET'): Seen => ({
  asked: { method, host: 'site', path: '/' },
  status: 200,
  headers: {},
  isWhole: true,
  receivedBytes: 300,
  bodyBytes: 100,
  bodySha256: 'right',
  startMs: 0,
  totalMs: 1,
  ...change,
});
/** No head came. */
const unanswered = (receivedBytes: number, method: Seen['asked']['method'] = 'GET'): Seen => {
  const { status: _, ...rest } = seen({ isWhole: false, receivedBytes, bodyBytes: 0 }, method);
  return rest;
};

describe('the verdict on a request', () => {
  test.for([
    ['the right page', seen(), 'served'],
    ['a head alone, as asked', seen({ bodyBytes: 0, bodySha256: 'of nothing' }, 'HEAD'), 'served'],
    ['any answer to a form', seen({ bodySha256: 'whatever' }, 'POST'), 'served'],
    ['other octets than the site has', seen({ bodySha256: 'other' }), 'wrong'],
    ['no byte of an answer', unanswered(0), 'replayable'],
    ["a gateway's own error", seen({ status: 502, bodySha256: 'other' }), 'replayable'],
    ['half a head', unanswered(12), 'cut'],
    ['half a body', seen({ isWhole: false }), 'cut'],
    ['a form and no answer', unanswered(0, 'POST'), 'form'],
    ['a form and an error', seen({ status: 502 }, 'POST'), 'form'],
  ] as const)('%s', ([, what, verdict]) => {
    expect(judge(site, what)).toBe(verdict);
  });
});

describe('who answered', () => {
  test('is the origin when its mark is there', () => {
    expect(answerer(site, seen({ headers: { 'x-answered-by': 'origin' } }))).toBe('origin');
  });

  test('is the VM when a right answer has no mark', () => {
    expect(answerer(site, seen())).toBe('vm');
  });

  test('is nobody when there is no right answer', () => {
    expect(answerer(site, seen({ status: 502 }))).toBe('nobody');
    expect(answerer(site, unanswered(0))).toBe('nobody');
  });
});
