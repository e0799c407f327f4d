import { describe, expect, test } from 'vitest';
import { h2loadArguments, parseH2load } from './h2load.ts';

const PRINTED = `starting benchmark...
spawning thread #0: 16 total client(s). Timing-based test with 0s of warm-up time and 4s of main duration for measurements.
Warm-up started for thread #0.
progress: 100% of clients started
Warm-up phase is over for thread #0.
Main benchmark duration is started for thread #0.
TLS Protocol: TLSv1.3
Cipher: TLS_AES_128_GCM_SHA256
Server Temp Key: X25519 253 bits
Application protocol: h2
Main benchmark duration is over for thread #0. Stopping all clients.
Stopped all clients for thread #0

finished in 4.00s, 16000.00 req/s, 1.04MB/s
requests: 64059 total, 64187 started, 64059 done, 64000 succeeded, 57 failed, 59 errored, 2 timeout
status codes: 64000 2xx, 0 3xx, 0 4xx, 57 5xx
traffic: 65.96MB (69167104) total, 750.00KB (768000) headers (space savings 51.02%), 62.50MB (65536000) data
                     min         max         mean         sd        +/- sd
time for request:       24us     10.90ms       850us       612us    89.46%
time for connect:     1.27ms     12.80ms      7.44ms      4.07ms    56.25%
time to 1st byte:     9.67ms     13.96ms     11.77ms      2.08ms    56.25%
req/s           :     656.25     8406.28     6953.74      616.00    87.50%
`;

describe("h2load's summary", () => {
  test('is read out of what it prints for people', () => {
    expect(parseH2load(PRINTED)).toEqual({
      requests: 64_000,
      bytes: 69_167_104,
      durationUs: 4_000_000,
      failed: 59,
    });
  });

  test('is missed when h2load did not come to its end', () => {
    expect(() => parseH2load('starting benchmark...\n')).toThrow(/no summary: starting/);
  });

  test.for([
    ['Application protocol: h2', 'Application protocol: http/1.1', /spoke http\/1\.1 over TLSv1\.3/],
    ['TLS Protocol: TLSv1.3', 'TLS Protocol: TLSv1.2', /spoke h2 over TLSv1\.2/],
    ['req/s           :     656.25', 'req/s           :       0.00', /no answer at all/],
  ] as const)('is none where "%s" is "%s"', ([good, bad, reason]) => {
    expect(PRINTED).toContain(good);
    expect(() => parseH2load(PRINTED.replace(good, bad))).toThrow(reason);
  });
});

test('h2load gets one thread, its connections and streams, and the host of the site as its authority', () => {
  const load = {
    url: 'https://a.example/1k',
    connectTo: '127.0.0.1:1',
    connections: 16,
    streams: 8,
    seconds: 4,
  };
  expect(h2loadArguments(load).join(' ')).toBe(
    '--threads 1 --clients 16 --max-concurrent-streams 8 --duration 4 --connect-to=127.0.0.1:1 ' +
      '--tls13-ciphers=TLS_AES_128_GCM_SHA256 https://a.example/1k',
  );
});
