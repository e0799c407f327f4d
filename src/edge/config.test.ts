import ssh2 from 'ssh2';
import { describe, expect, it } from 'vitest';
import { parseEdgeConfig } from './config.ts';
import { compareConfigs, withReloaded } from './reload.ts';

const parse = (gateway: string, portOffset = 0) =>
  parseEdgeConfig(
    `gateway:\n  edgeDomain: edge.example\n${gateway.replace(/^/gm, '  ')}\n`,
    'orilla.yaml',
    '/etc/orilla',
    portOffset,
  ).gateway;

describe('the configuration of the gateway', () => {
  it('has no proxy and no access log unless it says so, and limits in any case', () => {
    expect(parse('')).toMatchObject({
      limits: { connectionsPerClient: 512, requestsPerOrigin: 4096, headTimeoutMs: 15_000 },
    });
    const { forwardProxy, transparent, accessLog, limits } = parse('');
    expect([forwardProxy, transparent, accessLog]).toEqual([undefined, undefined, undefined]);
    expect(limits.requestsPerSecondPerClient).toBeUndefined();
  });

  it('lets nothing through a forward proxy that lists nothing, and everything through a transparent one', () => {
    const { forwardProxy, transparent } = parse(
      'forwardProxy: { listen: 3128 }\ntransparent: { listen: 8079 }',
    );
    expect(forwardProxy).toEqual({
      listen: { host: '127.0.0.1', port: 3128 },
      allow: [],
      privateNetworks: [],
    });
    expect(transparent).toMatchObject({ allow: ['*'], privateNetworks: [] });
  });

  it('moves all ports, and begins the access log’s path at its own folder', () => {
    const { forwardProxy, transparent, accessLog } = parse(
      'forwardProxy: { listen: 3128 }\ntransparent: { listen: 8079, tlsListen: 8444 }\naccessLog: { file: access.log }',
      100,
    );
    expect([forwardProxy?.listen.port, transparent?.listen.port, transparent?.tlsListen?.port]).toEqual([
      3228, 8179, 8544,
    ]);
    expect(accessLog).toEqual({ file: '/etc/orilla/access.log', format: 'json' });
  });

  it.for([
    'photos.example',
    'Photos.Example:8443',
    '*.example',
    '*.example:8080',
    '*',
    '*:8080',
    '192.0.2.7',
    '[2001:db8::7]:81',
  ])('takes %s for hosts that may be asked', (pattern) => {
    expect(
      parse(`forwardProxy: { listen: 1, allow: [${JSON.stringify(pattern)}] }`).forwardProxy?.allow,
    ).toEqual([pattern]);
  });

  it.for([
    ['forwardProxy: { listen: 1, allow: ["http://a.example"] }', 'gateway.forwardProxy.allow[0]'],
    ['forwardProxy: { listen: 1, allow: ["a.*.example"] }', 'gateway.forwardProxy.allow[0]'],
    ['forwardProxy: { listen: 1, allow: ["a.example:0"] }', 'gateway.forwardProxy.allow[0]'],
    ['forwardProxy: { listen: 1, allow: ["a.example:65536"] }', 'gateway.forwardProxy.allow[0]'],
    ['forwardProxy: { listen: 1, clients: ["10.0.0.0/33"] }', 'gateway.forwardProxy.clients[0]'],
    ['forwardProxy: { listen: 1, privateNetworks: [intern] }', 'gateway.forwardProxy.privateNetworks[0]'],
    ['forwardProxy: {}', 'gateway.forwardProxy.listen'],
    ['transparent: { listen: 1, tlsListen: 443 }', 'gateway.transparent.tlsListen'],
    ['accessLog: { file: a, format: xml }', 'gateway.accessLog.format'],
    ['remoteCommands: { telnet: { listen: "0.0.0.0:8095" } }', 'gateway.remoteCommands.telnet.listen'],
    ['remoteCommands: { telnet: { listen: "[::]:8095" } }', 'gateway.remoteCommands.telnet.listen'],
    ['remoteCommands: { telnet: { listen: "edge.example:8095" } }', 'gateway.remoteCommands.telnet.listen'],
    ['remoteCommands: { ssh: {} }', 'gateway.remoteCommands.ssh.listen'],
    ['limits: { connectionsPerClient: 0 }', 'gateway.limits.connectionsPerClient'],
    ['limits: { headTimeout: 10 ms }', 'gateway.limits.headTimeout'],
  ] as const)('names what is wrong with %s', ([text, key]) => {
    expect(() => parse(text)).toThrow(`orilla.yaml:3: ${key}: `);
  });

  it('has no remote command line unless it says so, and telnet on this machine only [gateway G13]', () => {
    expect(parse('').remoteCommands).toEqual({});
    const { ssh, telnet } = parse(
      'remoteCommands: { ssh: { listen: "0.0.0.0:8094", hostKeyFile: key }, telnet: { listen: "[::1]:8095" } }',
      100,
    ).remoteCommands;
    expect(ssh).toEqual({ listen: { host: '0.0.0.0', port: 8194 }, hostKeyFile: '/etc/orilla/key' });
    expect(telnet?.listen).toEqual({ host: '::1', port: 8195 });
  });

  it('takes keys of origins: lines of authorized_keys, and files of keys for applications [gateway G13]', () => {
    const keyed = (sshKey: string) =>
      `origins: { a: { hosts: [a.example], upstream: "http://192.0.2.7", offload: { tokenFile: t, applicationKeys: [a.pem], sshKeys: ["${sshKey}"] } } }`;
    const line =
      'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBx4nHsVJbVZGh5V2g0eCe5tEfZ8qGd8V1k0Zt2qJmPA anna@example';
    expect(parse(keyed(line)).origins['a']?.offload).toMatchObject({
      sshKeys: [line],
      applicationKeys: ['/etc/orilla/a.pem'],
    });
    const rsa = ssh2.utils.generateKeyPairSync('rsa', { bits: 2048 }).public.trim();
    for (const other of [rsa, `no-pty ${line}`, 'ssh-ed25519 AAAA', line.slice(0, 60), '']) {
      expect(() => parse(keyed(other)), other).toThrow('gateway.origins.a.offload.sshKeys[0]: got ');
    }
  });

  it('takes new rules and limits over at once, but not a new listener', () => {
    const whole = (text: string) =>
      parseEdgeConfig(`gateway: { edgeDomain: edge.example, ${text} }`, 'orilla.yaml', '/etc/orilla');
    const before = whole('forwardProxy: { listen: 3128, allow: [a.example] }');
    const after = whole(
      'forwardProxy: { listen: 3129, allow: [b.example] }, limits: { requestsPerOrigin: 9 }, transparent: { listen: 1 }',
    );
    const { applied, needRestart } = compareConfigs(before, after);
    expect(applied).toEqual(expect.arrayContaining(['gateway.limits', 'gateway.forwardProxy.allow']));
    expect(needRestart.toSorted()).toEqual(['gateway.forwardProxy.listen', 'gateway.transparent.listen']);
    const { forwardProxy, transparent, limits } = withReloaded(before, after).gateway;
    expect(forwardProxy).toMatchObject({ listen: { port: 3128 }, allow: ['b.example'] });
    expect(limits.requestsPerOrigin).toBe(9);
    expect(transparent).toBeUndefined();
    expect(withReloaded(before, whole('')).gateway.forwardProxy?.allow).toEqual([]);
  });
});
