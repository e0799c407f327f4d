import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, sep } from 'node:path';
import { describe, expect, test } from 'vitest';
import { isNode, nameOf, readSources, type SyntaxNode, walkSyntax } from './support/syntax.ts';

// The documentation names what there is: keys, metrics, commands and their options, files.

const ROOT = join(import.meta.dirname, '..');
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');

const NOT_OURS = new Set(['node_modules', '.tools', '.git', 'dist', 'orilla-data', 'coverage']);
const pages = readdirSync(ROOT, { withFileTypes: true })
  .filter(({ name }) => !NOT_OURS.has(name))
  .flatMap((entry) =>
    entry.isDirectory()
      ? readdirSync(join(ROOT, entry.name), { recursive: true, encoding: 'utf8' }).map((file) =>
          join(entry.name, file).split(sep).join('/'),
        )
      : [entry.name],
  )
  .filter((path) => path.endsWith('.md'))
  .map((path) => ({ path, text: read(path) }));

const registeredMetrics = readSources(ROOT, ['src'])
  .filter(({ path }) => path.endsWith('/metrics.ts'))
  .flatMap(({ source }) => Array.from(source.matchAll(/'(orilla_[a-z]\w+)'/g), ([, name]) => String(name)));

describe('the documentation', () => {
  test('has a row for every key of the configuration, and for none that is not there', () => {
    const keys = configurationKeys('src/edge/config.ts', 'configSchema');
    const [, section = ''] = /^## Configuration\n([^]*?)^## /m.exec(read('docs/operations.md')) ?? [];
    const rows = Array.from(section.matchAll(/^\| `([^`]+)` \|/gm), ([, key]) => String(key));
    expect(new Set(rows)).toEqual(new Set(keys));
    expect(rows.length).toBe(keys.length);
    expect(keys.length).toBeGreaterThan(10);
  });

  test('has a row for every metric, and speaks of no other', () => {
    const namesIn = (pattern: RegExp) =>
      new Set(pages.flatMap(({ text }) => Array.from(text.matchAll(pattern), ([, name]) => String(name))));
    expect(registeredMetrics.length).toBeGreaterThan(5);
    expect(namesIn(/^\| `(orilla_\w+)` \|/gm)).toEqual(new Set(registeredMetrics));
    expect(namesIn(/\b(orilla_[a-z]\w+)/g)).toEqual(new Set(registeredMetrics));
  });

  test('shows commands and options that the command line has', { timeout: 60_000 }, () => {
    const help = helpTexts();
    expect(help.size).toBeGreaterThan(5);
    const shown = pages.flatMap(({ path, text }) => commandsIn(text).map((command) => ({ path, command })));
    expect(shown.length).toBeGreaterThan(20);
    const wrong = shown.flatMap(({ path, command }) => {
      const [, name, sub] = command.split(/\s+/);
      const text = help.get(`${name} ${sub}`) ?? help.get(String(name));
      if (name?.startsWith('-')) return [];
      if (text === undefined || isGroup(text)) return [`${path}: there is no "${command}"`];
      return Array.from(command.matchAll(/\s(--[a-z-]+)/g), ([, option]) => String(option))
        .filter((option) => !text.includes(`${option} `))
        .map((option) => `${path}: "${command}": there is no ${option}`);
    });
    expect(wrong).toEqual([]);
  });

  test('links to what is there', () => {
    const broken = pages.flatMap(({ path, text }) =>
      linksIn(text)
        .filter((link) => !/^[a-z][a-z0-9+.-]*:/i.test(link))
        .filter((link) => !resolves(path, link))
        .map((link) => `${path}: ${link}`),
    );
    expect(broken).toEqual([]);
    expect(pages.length).toBeGreaterThan(5);
  });

  test('holds no path of a developer’s machine', () => {
    const found = pages
      .filter(({ text }) => /(?:^|[\s`'"(])\/(?:root|home\/\w+)\//.test(text))
      .map(({ path }) => path);
    expect(found).toEqual([]);
  });
});

/** The dotted keys of a zod schema, out of the source; a record's keys are the angle-bracketed words of the page. */
function configurationKeys(path: string, schema: string): string[] {
  const schemas = new Map<string, SyntaxNode>();
  walkSyntax({ path, source: read(path) }, (node) => {
    const name = node.type === 'VariableDeclarator' ? nameOf(node['id']) : undefined;
    if (name !== undefined && isNode(node['init'])) schemas.set(name, node['init']);
  });
  const placeholders: Record<string, string> = {
    'gateway.origins': '<origin>',
    'pool.configurations': '<id>',
  };

  const keysBelow = (value: unknown, key: string): string[] => {
    const named = schemas.get(nameOf(value) ?? '');
    if (named) return keysBelow(named, key);
    if (!isNode(value) || value.type !== 'CallExpression') return [key];
    const { callee } = value;
    const args = Array.isArray(value['arguments']) ? (value['arguments'] as unknown[]) : [];
    if (!isNode(callee) || callee.type !== 'MemberExpression') return [key];
    if (nameOf(callee['object']) !== 'z') return keysBelow(callee['object'], key); // `.default(…)` and its like
    const method = nameOf(callee['property']);
    if (method === 'record') {
      const placeholder = placeholders[key];
      if (placeholder === undefined) throw new Error(`${key} is a record: name what its keys are`);
      return keysBelow(args[1], `${key}.${placeholder}`);
    }
    if (method !== 'strictObject') return [key];
    const properties = isNode(args[0]) ? (args[0]['properties'] as SyntaxNode[]) : [];
    return properties.flatMap((property) =>
      keysBelow(property['value'], [key, nameOf(property['key'])].filter(Boolean).join('.')),
    );
  };
  const root = schemas.get(schema);
  if (!root) throw new Error(`${path} has no ${schema}`);
  return keysBelow(root, '');
}

/** `orilla …` at the beginning of a piece of code: in backticks, or on a line of a block, after a prompt too. */
function commandsIn(markdown: string): string[] {
  const blocks = Array.from(markdown.matchAll(/^ *```(?:sh|console)\n([^]*?)^ *```/gm), ([, block]) =>
    String(block),
  );
  const lines = blocks.flatMap((block) => block.replaceAll('\\\n', ' ').split('\n'));
  const inline = Array.from(markdown.matchAll(/`(orilla [^`\n]+)`/g), ([, code]) => String(code));
  return [...lines.map((line) => line.trim().replace(/^\$ /, '')), ...inline].filter((line) =>
    /^orilla [a-z-]/.test(line),
  );
}

/** What `--help` says, by command: `up`, `image build`. */
function helpTexts(): Map<string, string> {
  const texts = new Map<string, string>();
  const collect = (command: readonly string[]) => {
    const args = [join(ROOT, 'src/cli/main.ts'), ...command, '--help'];
    const { status, stdout } = spawnSync(process.execPath, args, { encoding: 'utf8' });
    expect(status).toBe(0);
    if (command.length > 0) texts.set(command.join(' '), stdout);
    for (const name of subcommands(stdout)) collect([...command, name]);
  };
  collect([]);
  return texts;
}

function subcommands(help: string): string[] {
  const [, list = ''] = /^Commands:\n((?: .*\n)*)/m.exec(help) ?? [];
  return Array.from(list.matchAll(/^ {2}(\w+)/gm), ([, name]) => String(name)).filter(
    (name) => name !== 'help',
  );
}

const isGroup = (help: string): boolean => subcommands(help).length > 0;

function linksIn(markdown: string): string[] {
  const text = markdown.replace(/^ *```[^]*?^ *```/gm, '').replace(/`[^`\n]*`/g, '');
  return Array.from(text.matchAll(/\]\(([^)\s]+)\)/g), ([, link]) => String(link));
}

function resolves(from: string, link: string): boolean {
  const [file = '', anchor] = link.split('#');
  const path = file === '' ? from : join(dirname(from), file);
  if (!existsSync(join(ROOT, path))) return false;
  return anchor === undefined || anchorsOf(read(path)).includes(anchor);
}

/** As GitHub makes them: lower case, punctuation dropped, spaces to hyphens. */
function anchorsOf(markdown: string): string[] {
  const text = markdown.replace(/^ *```[^]*?^ *```/gm, '');
  return Array.from(text.matchAll(/^#{1,6} +(.+)$/gm), ([, title]) =>
    String(title)
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replaceAll(' ', '-'),
  );
}
