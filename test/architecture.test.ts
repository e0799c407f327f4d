import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type ArchitectureRules, checkArchitecture } from './support/architecture.ts';
import { readSources } from './support/syntax.ts';

// Who may import whom, and why not. A folder may always import itself; what lies in src/ is named without it.

const PURE = ['base', 'wire', 'trust'];
const EVERYTHING_BELOW_EDGE = [
  ...PURE,
  'platform',
  'session',
  'bond',
  'swarm',
  'pool',
  'subscriber',
  'gateway',
  'desktop',
];

const UNIVERSAL = 'runs in browsers too';
const none = (why: string) => ({ only: [], why });

const RULES: ArchitectureRules = {
  folders: {
    base: { imports: [], packages: none('is what everything stands on'), noNode: UNIVERSAL },
    wire: { imports: ['base'], packages: none('is pure, and runs in browsers too'), noNode: UNIVERSAL },
    trust: {
      imports: ['base', 'wire'],
      packages: none('is handed its cryptography: nothing else may stand between a key and its use'),
      noNode: UNIVERSAL,
    },
    platform: { imports: PURE, packages: 'any' },

    session: {
      imports: [...PURE, 'platform/sockets'],
      packages: { only: ['koffi'], why: 'has to fit small devices [session S13]; koffi is optional there' },
    },
    bond: {
      imports: [...PURE, 'platform'],
      packages: {
        only: ['koffi'],
        why: 'carries live traffic on small boxes: each package needs its reason here',
      },
    },
    'swarm/core': { imports: PURE, packages: none('is pure, and runs in browsers too'), noNode: UNIVERSAL },
    'swarm/browser': {
      imports: [...PURE, 'swarm/core'],
      packages: 'any',
      noNode: 'runs in the visitor’s browser',
    },
    swarm: { imports: [...PURE, 'platform'], packages: 'any' },
    pool: { imports: [...PURE, 'platform'], packages: 'any' },
    subscriber: { imports: [...PURE, 'platform'], packages: 'any' },

    gateway: { imports: [...PURE, 'platform', 'session', 'pool'], packages: 'any' },
    'gateway/data-plane': {
      imports: [...PURE, 'platform', 'session', 'gateway'],
      packages: { ...none('sees every request: its cost and its faults are all our own'), andBeyond: true },
    },
    'desktop/channels': {
      imports: PURE,
      packages: none('is pure, and runs in browsers too'),
      noNode: UNIVERSAL,
    },
    desktop: { imports: [...PURE, 'platform', 'pool', 'subscriber'], packages: 'any' },

    edge: { imports: EVERYTHING_BELOW_EDGE, packages: 'any' },
    cli: {
      imports: [...EVERYTHING_BELOW_EDGE, 'edge', 'demo/index.ts'],
      packages: {
        only: ['commander', 'zod'],
        why: 'reads arguments, prints answers, checks what it is answered: the rest is behind a front door',
      },
    },
    demo: {
      imports: [...EVERYTHING_BELOW_EDGE, 'edge', 'lab'],
      packages: { only: ['commander'], why: 'uses what users use and knows no secret door' },
    },
    lab: {
      imports: ['base', 'platform'],
      packages: { only: ['koffi'], why: 'stands beside the product, so that it can be its judge' },
    },
    '*/schema.ts': {
      imports: PURE,
      packages: { only: ['zod'], why: 'is all that a page sees of the server' },
      noNode: UNIVERSAL,
    },

    web: {
      imports: [...PURE, 'swarm/core', 'swarm/browser', 'desktop/channels', '*/schema.ts'],
      packages: 'any',
      noNode: 'runs in the visitor’s browser',
    },
    bench: { imports: ['*'], packages: 'any', importsProduct: true },
    test: { imports: ['*'], packages: 'any', importsProduct: true },
    examples: { imports: [], packages: 'any', importsProduct: true },
  },

  capabilities: ['session', 'bond', 'swarm', 'pool', 'subscriber', 'gateway', 'desktop', 'edge'],
  seesInside: ['bench', 'test'],
  testPackages: ['vitest', 'fast-check'],

  realTime: {
    base: 'the real clock and the real randomness are made here',
    lab: 'emulates links and faults in real time',
    demo: 'is watched by people, in real time',
    bench: 'measures real time',
    test: 'waits for real programs, with a limit',
    examples: 'are programs of their own, without our base',
    web: 'pages run in the visitor’s browser, on its clock',
  },
  longFiles: {},
  lineLimit: 400,
  emptyNames: ['utils', 'util', 'helpers', 'helper', 'common', 'data', 'misc'],
};

const ROOT = join(import.meta.dirname, '..');

describe('the project', () => {
  test('keeps to the table of who may import whom', () => {
    const report = checkArchitecture(readSources(ROOT, ['src', 'web', 'bench', 'test', 'examples']), RULES);
    expect(report.violations).toEqual([]);
    // A checker that reads nothing finds nothing.
    expect(report.files).toBeGreaterThan(20);
    expect(report.imports).toBeGreaterThan(40);
  });
});

describe('the checker', () => {
  const check = (files: Readonly<Record<string, string>>) =>
    checkArchitecture(
      Object.entries(files).map(([path, source]) => ({ path, source })),
      RULES,
    ).violations;
  const line = (path: string, source: string) => check({ [path]: source });

  test.for([
    [
      'a folder below importing one above',
      'src/pool/vm.ts',
      `import { x } from '../gateway/index.ts';`,
      /pool may import/,
    ],
    [
      'a type of a folder above',
      'src/pool/vm.ts',
      `import type { X } from '../gateway/index.ts';`,
      /pool may import/,
    ],
    [
      'the same written as import()',
      'src/pool/vm.ts',
      `let x: import('../edge/index.ts').X;`,
      /pool may import/,
    ],
    [
      'a re-export from a folder above',
      'src/base/index.ts',
      `export * from '../wire/index.ts';`,
      /base may import nothing/,
    ],
    [
      'a dynamic import of a folder above',
      'src/pool/vm.ts',
      `await import('../edge/index.ts');`,
      /pool may import/,
    ],
    ['a computed import', 'src/cli/main.ts', 'await import(`./commands/${name}.ts`);', /computed/],
    [
      'a sibling part of platform',
      'src/session/s.ts',
      `import '../platform/http/index.ts';`,
      /platform\/sockets/,
    ],
    [
      'a pure core importing its server',
      'src/swarm/core/p.ts',
      `import '../server/s.ts';`,
      /swarm\/core may import/,
    ],
    [
      'another capability’s inside',
      'src/gateway/g.ts',
      `import '../pool/host.ts';`,
      /only index\.ts, schema\.ts, routes\.ts/,
    ],
    ['a door deeper inside', 'src/gateway/g.ts', `import '../pool/images/index.ts';`, /are open to others/],
    ['the command line in an inside', 'src/cli/main.ts', `import '../edge/roles.ts';`, /of edge are open/],
    [
      'product code importing test support',
      'src/pool/vm.ts',
      `import '../../test/support/tools.ts';`,
      /pool may import/,
    ],
    [
      'an example reaching into the sources',
      'examples/origin/o.ts',
      `import '../../src/base/index.ts';`,
      /examples may import nothing/,
    ],
    [
      'a page importing the server',
      'web/console/a.js',
      `import '../../src/pool/index.ts';`,
      /web may import/,
    ],
    [
      'a banned npm package',
      'src/base/ids.ts',
      `import { nanoid } from 'nanoid';`,
      /"nanoid": base is what everything stands on/,
    ],
    [
      'part of a scoped package',
      'src/session/s.ts',
      `import '@scope/name/part';`,
      /"@scope\/name": session has to fit/,
    ],
    [
      'a package in the data plane',
      'src/gateway/data-plane/w.ts',
      `import pino from 'pino';`,
      /sees every request/,
    ],
    ['a test tool in product code', 'src/session/s.ts', `import { test } from 'vitest';`, /"vitest"/],
    ['node: in a universal folder', 'src/wire/frame.ts', `import 'node:buffer';`, /runs in browsers too/],
    ['a built-in without node: there', 'src/wire/frame.ts', `import 'buffer';`, /runs in browsers too/],
    ['node: in a schema', 'src/pool/schema.ts', `import 'node:fs';`, /runs in browsers too/],
    ['more than zod in a schema', 'src/pool/schema.ts', `import 'fastify';`, /all that a page sees/],
    ['the product by its own name', 'src/cli/main.ts', `import 'orilla';`, /inside, imports are relative/],
    ['a missing extension', 'src/pool/vm.ts', `import './host';`, /without its extension/],
    ['.js for a source', 'src/pool/vm.ts', `import './host.js';`, /imported as \.ts/],
    ['a folder that nobody decided on', 'src/shared/x.ts', `import './y.ts';`, /does not name/],
    ['a name that says nothing', 'src/pool/utils.ts', '', /says nothing/],
    ['a folder’s name that says nothing', 'src/pool/common/vm.ts', '', /says nothing/],
    ['a file of two ideas', 'src/pool/vm.ts', '\n'.repeat(401), /401 lines/],
  ] as const)('finds %s', ([, path, source, expected]) => {
    expect(line(path, source)).toEqual([expect.stringMatching(expected)]);
  });

  test.for([
    ['Date.now()', 'Date.now()'],
    ['Date.now', 'const now = Date.now;'],
    ['new Date()', 'new Date()'],
    ['Date()', 'Date()'],
    ['setTimeout', 'setTimeout(run, 10)'],
    ['setInterval', 'const every = setInterval;'],
    ['setImmediate', 'globalThis.setImmediate(run)'],
    ['Math.random', 'Math.random()'],
    ['performance.now', `performance['now']()`],
    ['AbortSignal.timeout', 'AbortSignal.timeout(10)'],
    ['node:timers/promises', `import { scheduler } from 'node:timers/promises';`],
    ['randomUUID', `import { randomUUID as id } from 'node:crypto';`],
    ['randomBytes', 'crypto.randomBytes(16)'],
  ] as const)('finds the real %s', ([, source]) => {
    expect(line('src/pool/vm.ts', source)).toEqual([expect.stringMatching(/handed in/)]);
  });

  test('finds a circle of imports, also one through a type', () => {
    expect(
      check({
        'src/pool/a.ts': `import './b.ts';`,
        'src/pool/b.ts': `import type { C } from './c.ts';`,
        'src/pool/c.ts': `import './a.ts';`,
      }),
    ).toEqual(['src/pool/a.ts → src/pool/b.ts → src/pool/c.ts → src/pool/a.ts is a circle of imports']);
  });

  test('follows what the data plane loads to the packages at the end of it, but not to types', () => {
    expect(
      check({
        'src/gateway/data-plane/w.ts': `import '../../platform/telemetry/index.ts';`,
        'src/platform/telemetry/index.ts': `import './log.ts';`,
        'src/platform/telemetry/log.ts': `import pino from 'pino'; import type { X } from 'fastify';`,
      }),
    ).toEqual([
      expect.stringMatching(/log\.ts loads the npm package "pino": gateway\/data-plane sees every/),
    ]);
  });

  test('does not take text, comments and members for what they name', () => {
    expect(
      line(
        'src/pool/vm.ts',
        `// import '../edge/index.ts'
         const text = "setTimeout(Date.now())";
         socket.setTimeout(10);
         new Date(0).toISOString();
         export interface Socket { setTimeout(delayMs: number): void }`,
      ),
    ).toEqual([]);
  });

  test('lets through what the table allows', () => {
    expect(
      check({
        'src/gateway/index.ts': `import { Pool } from '../pool/index.ts'; import { readFile } from 'node:fs/promises';`,
        'src/gateway/offload.ts': `import type { Vm } from '../pool/schema.ts'; import './index.ts';`,
        'src/pool/vm.test.ts': `import { test } from 'vitest'; import '../../test/support/tools.ts'; Date.now();`,
        'src/session/open.ts': `import '../platform/sockets/index.ts'; import koffi from 'koffi';`,
        'src/pool/schema.ts': `import { z } from 'zod';`,
        'src/edge/index.ts': `import '../gateway/routes.ts'; import '../platform/http/index.ts';`,
        'examples/origin/server.ts': `import 'orilla/origin';`,
        'web/console/page.js': `import './part.js'; import '../../src/pool/schema.ts';`,
      }),
    ).toEqual([]);
  });

  test('refuses a file that does not parse', () => {
    expect(() => line('src/pool/vm.ts', 'import {')).toThrow(/does not parse/);
  });

  test('counts what it read', () => {
    expect(
      checkArchitecture(
        [{ path: 'src/base/a.ts', source: `import './b.ts'; export * from './c.ts';` }],
        RULES,
      ),
    ).toEqual({ files: 1, imports: 2, violations: [] });
  });
});
