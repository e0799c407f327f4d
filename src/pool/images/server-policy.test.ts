import { describe, expect, test } from 'vitest';
import { listedServers, serverOfOperator } from './server-policy.ts';

const METADATA = '169.254.169.254';

describe('of the servers that the operator listed', () => {
  const policy = listedServers({
    listed: ['images.example', '127.0.0.1:9001', '[::1]:9001', '10.0.0.5', 'localhost:9001'],
    ownServer: 'photos.internal:9000',
  });
  const may = (url: string, address: string) => policy.mayConnect(new URL(url), address);
  const check = (url: string) => () => policy.check(new URL(url));

  test.for([
    'http://images.example/',
    'https://images.example/',
    'http://photos.internal:9000/',
    'http://127.0.0.1:9001/',
    // The URL parser knows all spellings of an address.
    'http://2130706433:9001/',
    'http://0177.0.0.1:9001/',
    'http://0x7f.1:9001/',
    'http://127.1:9001/',
    'http://[0:0::1]:9001/',
  ])('%s is one', (url) => {
    expect(check(url)).not.toThrow();
  });

  test.for([
    'http://images.example:81/',
    'http://photos.internal/',
    'http://127.0.0.1/',
    'http://2130706433/',
    'http://0x7f000001:8088/',
    'http://017700000001:8088/',
    'http://[::ffff:127.0.0.1]:9001/',
    'http://[::1]/',
    `http://${METADATA}/`,
    'http://images.example.attacker.example/',
  ])('%s is none', (url) => {
    expect(check(url)).toThrow(expect.objectContaining({ code: 'image_outside_root' }));
  });

  test('a name leads to the Internet only', () => {
    expect(may('http://images.example/', '1.1.1.1')).toBe(true);
    for (const address of [
      '127.0.0.1',
      '192.168.1.1',
      '100.64.0.1',
      'fe80::1',
      'fd00::1',
      '::ffff:127.0.0.1',
    ]) {
      expect(may('http://images.example/', address), address).toBe(false);
    }
  });

  test('a local address is reached where it is on the list itself, by whichever name', () => {
    expect(may('http://127.0.0.1:9001/', '127.0.0.1')).toBe(true);
    expect(may('http://[::1]:9001/', '::1')).toBe(true);
    expect(may('http://images.example/', '10.0.0.5')).toBe(true);
    expect(may('http://images.example/', '10.0.0.6')).toBe(false);
    expect(may('http://localhost:9001/', '127.0.0.1')).toBe(true);
  });

  test("the origin's own server is reached wherever it is", () => {
    expect(may('http://photos.internal:9000/', '10.1.2.3')).toBe(true);
    expect(may('http://photos.internal:9000/', 'fd00::1')).toBe(true);
  });

  test('none leads to the metadata of a cloud, or to no server at all', () => {
    for (const url of ['http://images.example/', 'http://photos.internal:9000/', 'http://localhost:9001/']) {
      for (const address of [METADATA, `::ffff:${METADATA}`, '0.0.0.0', '::', '224.0.0.1', 'fd00:ec2::254']) {
        expect(may(url, address), `${url} ${address}`).toBe(false);
      }
    }
  });
});

describe('what the operator names', () => {
  const policy = serverOfOperator(new URL('http://10.0.0.5:9000/image'));

  test('is reached wherever it is, and so is the Internet', () => {
    expect(policy.mayConnect(new URL('http://10.0.0.5:9000/image/vmlinuz'), '10.0.0.5')).toBe(true);
    expect(policy.mayConnect(new URL('https://cdn.example/vmlinuz'), '1.1.1.1')).toBe(true);
  });

  test('redirects to no other local server', () => {
    expect(policy.mayConnect(new URL('http://10.0.0.5:8088/'), '10.0.0.5')).toBe(false);
    expect(policy.mayConnect(new URL('http://localhost/'), '127.0.0.1')).toBe(false);
    expect(policy.mayConnect(new URL(`http://${METADATA}/`), METADATA)).toBe(false);
  });
});
