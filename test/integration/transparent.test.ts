import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/base/index.ts';
import { entryPath } from '../../src/platform/process/index.ts';
import { makeCertificate } from '../support/made-certificate.ts';
import { NetworkNamespace } from '../support/network-namespaces.ts';
import { needs } from '../support/tools.ts';

// Three machines in a row, each a network namespace, so that nothing of this machine is changed:
//
//   client 10.77.1.2 ── 10.77.1.1 gateway 198.51.100.1 ── 198.51.100.2 origin
//
// The gateway forwards no packet by itself: what gets through went through Orilla.
const RULES = `
table inet orilla {
  chain prerouting {
    type nat hook prerouting priority dstnat;
    iifname "lan" tcp dport 80 redirect to :8079
    iifname "lan" tcp dport 443 redirect to :8444
  }
}`;
const ORIGIN = '198.51.100.2';
const ORIGIN_IPV6 = 'fd77:2::2';

needs('ip', 'nft')('a network behind the gateway', () => {
  describe.skipIf(process.getuid?.() !== 0)('(as root)', () => {
    let folder: string;
    let machines: NetworkNamespace[];
    let client: NetworkNamespace;
    let orilla: ChildProcess;

    beforeAll(async () => {
      folder = mkdtempSync(join(tmpdir(), 'o-'));
      machines = ['client', 'gateway', 'origin'].map(
        (name) => new NetworkNamespace(`o-${process.pid}-${name}`),
      );
      const [, gateway, origin] = machines as [NetworkNamespace, NetworkNamespace, NetworkNamespace];
      [client] = machines as [NetworkNamespace];
      NetworkNamespace.connect([client, 'eth0'], [gateway, 'lan']);
      NetworkNamespace.connect([gateway, 'wan'], [origin, 'eth0']);
      for (const [machine, device, addresses] of [
        [client, 'eth0', ['10.77.1.2/24', 'fd77:1::2/64']],
        [gateway, 'lan', ['10.77.1.1/24', 'fd77:1::1/64']],
        [gateway, 'wan', ['198.51.100.1/24', 'fd77:2::1/64']],
        [origin, 'eth0', [`${ORIGIN}/24`, `${ORIGIN_IPV6}/64`]],
      ] as const) {
        for (const address of addresses) {
          // An IPv6 address may be used only once it is known that no other machine has it.
          machine.ip(`addr add ${address} dev ${device}${address.includes(':') ? ' nodad' : ''}`);
        }
      }
      client.ip('route add default via 10.77.1.1');
      client.ip('-6 route add default via fd77:1::1');
      await gateway.run('nft', ['-f', '-'], RULES);

      const { certPem, keyPem } = await makeCertificate('secure.example');
      writeFileSync(join(folder, 'cert.pem'), certPem);
      writeFileSync(join(folder, 'key.pem'), keyPem);
      const support = fileURLToPath(new URL('../support/network-origin.ts', import.meta.url));
      await untilSaid(origin.spawn(process.execPath, [support, folder, ORIGIN, ORIGIN_IPV6]), 'listening');

      writeFileSync(join(folder, 'resolv.conf'), `nameserver ${ORIGIN}\n`);
      writeFileSync(join(folder, 'orilla.yaml'), configuration());
      const up = ['up', '--config', join(folder, 'orilla.yaml'), '--data', join(folder, 'data')];
      // Its own view of the name servers: the namespace of mounts is its own, too.
      const start = 'mount --bind "$0" /etc/resolv.conf && exec "$@"';
      const program = [join(folder, 'resolv.conf'), process.execPath, entryPath('cli/main'), ...up];
      orilla = gateway.spawn('sh', ['-c', start, ...program]);
      await untilSaid(orilla, 'orilla is up');
    });

    afterAll(async () => {
      if (orilla) {
        const ended = new Promise((resolve) => orilla.once('close', resolve));
        orilla.kill('SIGTERM');
        await ended;
      }
      for (const machine of machines) machine[Symbol.dispose]();
      rmSync(folder, { recursive: true, force: true });
    });

    test.for([
      ['IPv4', ORIGIN],
      ['IPv6', ORIGIN_IPV6],
    ] as const)(
      'has its requests tagged without knowing of it, over %s [gateway G1] [gateway G3]',
      async ([, address]) => {
        const asked = JSON.parse(await ask('http', address, 'photos.elsewhere.example')) as Asked;
        expect(asked).toMatchObject({ method: 'GET', url: '/album?page=2' });
        expect(asked.headers).toMatchObject({
          host: 'photos.elsewhere.example',
          'bng-api-url': '127.0.0.1:8081/version1/virtualmachine',
          signature: expect.stringMatching(/^orilla=:/),
        });
        expect(asked.headers['signature-input']).toContain('alg="ed25519"');
        expect(asked.from).toMatch(/198\.51\.100\.1|fd77:2::1/);
      },
    );

    test('reaches sites of the gateway by their route', async () => {
      const asked = JSON.parse(await ask('http', ORIGIN, 'site.example')) as Asked;
      expect(asked.headers).toMatchObject({ host: 'site.example', 'x-forwarded-for': '10.77.1.2' });
    });

    test('has its HTTPS passed on untouched: the certificate is the origin’s own, and nothing is added', async () => {
      const asked = JSON.parse(await ask('https', ORIGIN, 'secure.example')) as Asked;
      expect(asked.headers).toMatchObject({ host: 'secure.example' });
      expect(asked.headers).not.toHaveProperty('bng-api-url');
      expect(asked.from).toMatch(/198\.51\.100\.1|fd77:2::1/);
    });

    test('has a line in the access log for each of its requests', async () => {
      const read = () => readFileSync(join(folder, 'access.log'), 'utf8');
      while (!read().includes('secure.example')) await systemClock.sleep(50);
      const lines = read().trim().split('\n');
      expect(lines.map((line) => JSON.parse(line) as object)).toContainEqual(
        expect.objectContaining({
          client: '10.77.1.2',
          host: 'photos.elsewhere.example',
          path: '/album?page=2',
          origin: '(transparent)',
        }),
      );
    });

    /** Asks as a program does that knows nothing of a gateway: connects to the origin's address. */
    function ask(scheme: 'http' | 'https', address: string, host: string): Promise<string> {
      const options = {
        host: address,
        servername: host,
        path: '/album?page=2',
        headers: { host },
        ca: scheme === 'https' ? readFileSync(join(folder, 'cert.pem'), 'utf8') : undefined,
      };
      const program = `
        require('node:${scheme}').get(${JSON.stringify(options)}, (answer) => answer.pipe(process.stdout));`;
      return client.run(process.execPath, ['-e', program]);
    }

    function configuration(): string {
      const privateNetworks = ['198.51.100.0/24', 'fd77:2::/64'];
      return JSON.stringify({
        gateway: {
          edgeDomain: 'edge.example',
          workers: 1,
          origins: { site: { hosts: ['site.example'], upstream: `http://${ORIGIN}` } },
          transparent: { listen: '[::]:8079', tlsListen: '[::]:8444', privateNetworks },
          accessLog: { file: 'access.log' },
        },
      });
    }
  });
});

interface Asked {
  readonly headers: Record<string, string>;
  readonly from: string;
}

/** Resolves when a program prints this; fails when it ends before. */
function untilSaid(child: ChildProcess, text: string): Promise<void> {
  let printed = '';
  return new Promise((resolve, reject) => {
    child.once('close', () => reject(new Error(`ended before it said "${text}":\n${printed}`)));
    child.stdout?.on('data', (more: Buffer) => {
      printed += more.toString();
      if (printed.includes(text)) resolve();
    });
  });
}
