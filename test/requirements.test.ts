import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { checkRequirements, parseRequirements, specifiedIds, taggedTests } from './support/requirements.ts';
import { readSources } from './support/syntax.ts';

const ROOT = join(import.meta.dirname, '..');
const FACTS = { 'gateway G': 17, 'bond B': 12, 'session S': 15, 'swarm W': 14, 'desktop D': 19 };

const everyId = Object.entries(FACTS).flatMap(([prefix, count]) =>
  Array.from({ length: count }, (_, index) => `${prefix}${index + 1}`),
);
const rows = parseRequirements(readFileSync(join(ROOT, 'docs', 'requirements.md'), 'utf8'));

describe('docs/requirements.md', () => {
  test('has every number once, in order', () => {
    expect(rows.map(({ id }) => id)).toEqual(everyId);
  });

  test('says of each number what the tests show', () => {
    const tests = readSources(ROOT, ['src', 'test', 'bench']).filter(({ path }) =>
      /(?:\.test|-suite)\.ts$/.test(path),
    );
    expect(tests.length).toBeGreaterThan(1);
    expect(checkRequirements(rows, taggedTests(tests)).join('\n')).toBe('');
  });

  // The specification lies beside the checkout, where it is at hand at all.
  const spec = join(ROOT, '..', 'shared', 'spec');
  if (existsSync(spec)) {
    test('has the numbers of the specification', () => {
      const specified = ['gateway', 'bond', 'session', 'swarm', 'desktop'].flatMap((capability) =>
        specifiedIds(capability, readFileSync(join(spec, `${capability}.md`), 'utf8')),
      );
      expect(rows.map(({ id }) => id)).toEqual(specified);
    });
  }
});

describe('the check of requirements', () => {
  // Put together here, so that the check of this file does not take the samples for its own tests.
  const tag = (id: string) => `[${id}]`;
  const shownBy = (source: string) => taggedTests([{ path: 'test/a.test.ts', source }]);
  const files = new Map([['bond B7', ['test/a.test.ts']]]);
  const row = { id: 'bond B7', text: 'blocks come out in order', state: 'done', shownBy: ['test/a.test.ts'] };

  test.for([
    `test('a name ${tag('bond B7')}', () => {})`,
    `it("two of them ${tag('gateway G1')} ${tag('bond B7')}")`,
    `describe(\`in a template ${tag('bond B7')}\`)`,
    `test.for([1, 2])('%i ${tag('bond B7')}')`,
    `it.each\`a\${1}\`('$a ${tag('bond B7')}')`,
    `test.runIf(isLinux)('on Linux ${tag('bond B7')}')`,
    `needs('qemu-system-x86_64')('with a guest ${tag('bond B7')}')`,
  ])('sees the number in %s', (source) => {
    expect(shownBy(source).get('bond B7')).toEqual(['test/a.test.ts']);
  });

  test.for([
    `// test('${tag('bond B7')}')`,
    `const name = '${tag('bond B7')}'; log('${tag('bond B7')}');`,
    `test.skip('${tag('bond B7')}')`,
    `test.todo('${tag('bond B7')}')`,
    `test('no tag: bond B7')`,
    `test('an array [0] and [some words]')`,
  ])('takes nothing from %s', (source) => {
    expect([...shownBy(source)]).toEqual([]);
  });

  test('is content with a row that names exactly its tests', () => {
    expect(checkRequirements([row], files)).toEqual([]);
    expect(checkRequirements([{ ...row, state: 'partly' }], files)).toEqual([]);
  });

  test.for([
    ['called done without a test', row, new Map(), '| not yet |  |'],
    [
      'with a test but called not yet',
      { ...row, state: 'not yet', shownBy: [] },
      files,
      '| partly | `test/a.test.ts` |',
    ],
    [
      'that names another file',
      { ...row, shownBy: ['test/b.test.ts'] },
      files,
      '| done | `test/a.test.ts` |',
    ],
    ['in a state that is none', { ...row, state: 'nearly' }, files, '| partly | `test/a.test.ts` |'],
  ] as const)('prints the right row for one %s', ([, wrong, shown, ending]) => {
    expect(checkRequirements([wrong], shown)).toEqual([`the row must be: | bond B7 | ${row.text} ${ending}`]);
  });

  test('finds a number that is there twice and one that no table has', () => {
    expect(checkRequirements([row, row], files)).toEqual(['bond B7 is there twice']);
    expect(checkRequirements([], files)).toEqual(['test/a.test.ts: no requirement has the number [bond B7]']);
  });
});
