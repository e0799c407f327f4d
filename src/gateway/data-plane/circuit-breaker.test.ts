import { expect, test } from 'vitest';
import { CircuitBreaker } from './circuit-breaker.ts';

const fail = (breaker: CircuitBreaker, count: number, nowMs: number) => {
  for (let done = 0; done < count; done += 1) breaker.failed(nowMs);
};

test('keeps requests from a server that failed five in a row, and lets one try after each rest', () => {
  const breaker = new CircuitBreaker();
  fail(breaker, 4, 0);
  expect(breaker.allows(0)).toBe(true);
  breaker.failed(0);
  expect([0, 499].map((nowMs) => breaker.allows(nowMs))).toEqual([false, false]);
  expect([500, 500, 501].map((nowMs) => breaker.allows(nowMs))).toEqual([true, false, false]);
});

test('rests twice as long after each trial that failed, and at most 30 s', () => {
  const breaker = new CircuitBreaker();
  fail(breaker, 5, 0);
  let nowMs = 0;
  for (const restMs of [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]) {
    expect(breaker.allows(nowMs + restMs - 1)).toBe(false);
    nowMs += restMs;
    expect(breaker.allows(nowMs)).toBe(true);
    breaker.failed(nowMs);
  }
});

test('forgets everything at the first success', () => {
  const breaker = new CircuitBreaker();
  fail(breaker, 5, 0);
  expect(breaker.allows(500)).toBe(true);
  breaker.succeeded();
  expect(breaker.allows(501)).toBe(true);
  fail(breaker, 4, 502);
  expect(breaker.allows(502)).toBe(true);
});
