import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { byteSizeSchema, configError, durationSchema, listenSchema, parseConfig } from './config.ts';

const schema = z.strictObject({
  listen: listenSchema.default({ host: '127.0.0.1', port: 80 }),
  memory: byteSizeSchema.default(0),
  timeout: durationSchema.default(0),
  log: z.enum(['info', 'debug']).default('info'),
  origins: z
    .record(
      z.string().regex(/^[a-z]+$/, 'expected lower-case letters'),
      z.strictObject({ hosts: z.array(z.string()) }),
    )
    .default({}),
  either: z.union([z.union([z.int(), z.literal('none')]), z.boolean()]).optional(),
});

const read = (text: string) => parseConfig(schema, text, 'orilla.yaml');

/** The faults of a text, a line each. */
function faultsOf(text: string): string[] {
  try {
    read(text);
  } catch (error) {
    expect(error).toMatchObject({ code: 'config_invalid' });
    return (error as Error).message.split('\n');
  }
  throw new Error('no fault was found');
}

describe('what is read', () => {
  test('has sizes in octets, durations in milliseconds, and defaults where nothing is written', () => {
    expect(read('memory: 128 MiB\ntimeout: "1.5 s"\n')).toMatchObject({
      memory: 2 ** 27,
      timeout: 1500,
      log: 'info',
    });
    expect(read('')).toMatchObject({ memory: 0 });
    expect(read('# nothing but a comment\n')).toMatchObject({ memory: 0 });
  });

  test.for([
    ['8080', { host: '127.0.0.1', port: 8080 }],
    ['"8080"', { host: '127.0.0.1', port: 8080 }],
    ['0', { host: '127.0.0.1', port: 0 }],
    ['0.0.0.0:65535', { host: '0.0.0.0', port: 65_535 }],
    ['localhost:80', { host: 'localhost', port: 80 }],
    ['"[::1]:8080"', { host: '::1', port: 8080 }],
    ['"[::ffff:192.0.2.1]:1"', { host: '::ffff:192.0.2.1', port: 1 }],
  ] as const)('listen: %s is an address and a port', ([text, expected]) => {
    expect(read(`listen: ${text}`).listen).toEqual(expected);
  });
});

describe('a fault', () => {
  test('is told with line, key, value and what was expected', () => {
    expect(faultsOf('# a comment\nlog: loud\n')).toEqual([
      expect.stringMatching(/^orilla\.yaml:2: log: got "loud": .*"info"\|"debug"/),
    ]);
  });

  test('deep inside is told at its own line', () => {
    expect(faultsOf('origins:\n  photos:\n    hosts:\n      - a.example\n      - 7\n')).toEqual([
      expect.stringMatching(/^orilla\.yaml:5: origins\.photos\.hosts\[1\]: got 7: .*expected string/),
    ]);
  });

  test('of something missing is told where it should have been', () => {
    expect(faultsOf('log: info\norigins:\n  photos: {}\n')).toEqual([
      expect.stringMatching(/^orilla\.yaml:3: origins\.photos\.hosts: missing; expected array$/),
    ]);
  });

  test('does not hide the others; all are told from top to bottom', () => {
    expect(faultsOf('log: loud\nmemory: 5\ntimeout: 5 m\norigins: { photos: { hosts: x } }\n')).toEqual([
      expect.stringMatching(/:1: log: /),
      expect.stringMatching(/:2: memory: got 5: expected a size with a unit: B, KiB, /),
      expect.stringMatching(/:3: timeout: got "5 m": expected a duration with a unit: ms, s, min or h/),
      expect.stringMatching(/:4: origins\.photos\.hosts: got "x"/),
    ]);
  });

  test('of an unknown key is told with the line of that key, one by one', () => {
    expect(faultsOf('log: info\nlgo: info\norigins:\n  photos:\n    hosts: []\n    port: 1\nx: 1\n')).toEqual(
      [
        'orilla.yaml:2: lgo: unknown key',
        'orilla.yaml:6: origins.photos.port: unknown key',
        'orilla.yaml:7: x: unknown key',
      ],
    );
  });

  test('in a key of a list of names says what a name is', () => {
    expect(faultsOf('origins:\n  a: { hosts: [] }\n  Photos!: { hosts: [] }\n')).toEqual([
      'orilla.yaml:3: origins.Photos!: got "Photos!": expected lower-case letters',
    ]);
  });

  test('where several forms are allowed names one of them, however deep', () => {
    expect(faultsOf('either: maybe\n')).toEqual([
      expect.stringMatching(/^orilla\.yaml:1: either: got "maybe": .*expected (int|number)/),
    ]);
    expect(faultsOf('listen: [80]\n')).toEqual([
      expect.stringMatching(/^orilla\.yaml:1: listen: got \[80\]: expected a port, or an address and a port/),
    ]);
  });

  test.for(['1 MB', '-1 B', '128', 'much'])('memory: %s is no size', (text) => {
    expect(faultsOf(`memory: "${text}"`)).toEqual([
      `orilla.yaml:1: memory: got "${text}": expected a size with a unit: B, KiB, MiB, GiB or TiB, for example "128 MiB"`,
    ]);
  });

  test.for(['65536', '::1:80', '[::1]', 'a b:80', ':80', '1.2.3.4:', 'host:port', '-1', '1.5'])(
    'listen: %s is no address and port',
    (text) => {
      expect(faultsOf(`listen: "${text}"`)).toEqual([
        expect.stringMatching(/^orilla\.yaml:1: listen: got ".*": expected a port, or an address and a port/),
      ]);
    },
  );

  test('in the YAML itself is told with its line', () => {
    expect(faultsOf('log: info\nlog: debug\n')).toEqual([expect.stringMatching(/^orilla\.yaml:2: .*unique/)]);
    expect(faultsOf('log: info\nmemory: "no end\n')).toEqual([expect.stringMatching(/^orilla\.yaml:\d: /)]);
  });

  test('is told shortly when the value is long, and of a configuration that is none', () => {
    expect(faultsOf(`log: ${'x'.repeat(5000)}`)[0]?.length).toBeLessThan(300);
    expect(faultsOf('just a text')).toEqual([
      expect.stringMatching(/^orilla\.yaml:1: the configuration: got "just a text": .*expected object/),
    ]);
  });
});

test('aliases are refused with their line, also those that would grow to gigabytes', () => {
  expect(faultsOf('log: &level info\norigins:\n  x: *level\n')).toEqual([
    'orilla.yaml:3: aliases (*level) are not supported',
  ]);
  const layers = Array.from({ length: 30 }, (_, index) =>
    index === 0 ? '- &a0 [x, x]' : `- &a${index} [${`*a${index - 1}, `.repeat(9)}x]`,
  );
  expect(faultsOf(layers.join('\n'))[0]).toBe('orilla.yaml:2: aliases (*a0) are not supported');
});

test('config_invalid is for other readers of a configuration too', () => {
  expect(configError('config_invalid', 'no such file')).toMatchObject({
    code: 'config_invalid',
    status: 500,
  });
});
