import { expect, test } from 'vitest';
import { parseEdgeConfig } from '../../src/edge/config.ts';
import { HOST, orillaConfiguration } from './peers.ts';

test('the gateway is set up with one worker, by HTTP and HTTPS, in words that it takes', () => {
  const certificate = { certFile: '/c/cert.pem', keyFile: '/c/key.pem', bothFile: '/c/both.pem' };
  const text = orillaConfiguration({ http: 1001, https: 1002 }, 1003, certificate);
  const { gateway } = parseEdgeConfig(text, 'orilla.yaml', '/c');
  expect([gateway.workers, gateway.listen.port, gateway.tls?.listen.port]).toEqual([1, 1001, 1002]);
  expect(gateway.tls?.certificates).toEqual([{ certFile: '/c/cert.pem', keyFile: '/c/key.pem' }]);
  expect(gateway.origins['bench']?.hosts).toEqual([HOST]);
});
