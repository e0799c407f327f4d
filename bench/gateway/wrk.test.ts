import { describe, expect, test } from 'vitest';
import { parseWrk, WRK_SCRIPT, wrkArguments } from './wrk.ts';

const PRINTED = `Running 4s test @ http://127.0.0.1:9101/1k
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   686.01us  311.11us   9.41ms   92.37%
    Req/Sec    93.92k     3.10k   97.59k    82.93%
  382942 requests in 4.10s, 473.95MB read
Requests/sec:  93404.15
Transfer/sec:    115.60MB

summary {"requests":382942,"bytes":496970560,"durationUs":4099840,"failed":0,"p50Us":652,"p99Us":1480}
`;

describe("wrk's summary", () => {
  test('is found below what wrk prints for people', () => {
    expect(parseWrk(PRINTED)).toEqual({
      requests: 382_942,
      bytes: 496_970_560,
      durationUs: 4_099_840,
      failed: 0,
      p50Us: 652,
      p99Us: 1480,
    });
  });

  test('is missed when wrk did not come to its end', () => {
    expect(() => parseWrk('unable to connect to 127.0.0.1:1\n')).toThrow(/no summary: unable to connect/);
  });

  test('has to be whole', () => {
    expect(() => parseWrk('summary {"requests":12}')).toThrow(/bytes/);
  });

  test('is asked for at the end only: a function that runs for each request would be measured too', () => {
    expect(WRK_SCRIPT).not.toMatch(/\b(?:request|response|delay)\s*=\s*function/);
  });
});

test('wrk gets one thread, its connections and the host of the site', () => {
  const load = {
    url: 'http://127.0.0.1:1/1k',
    host: 'a.example',
    connections: 64,
    seconds: 4,
    scriptFile: 's',
  };
  expect(wrkArguments(load).join(' ')).toBe(
    '--threads 1 --connections 64 --duration 4s --timeout 10s --script s --header Host: a.example http://127.0.0.1:1/1k',
  );
});
