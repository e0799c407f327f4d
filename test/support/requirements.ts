import { isNode, literalText, nameOf, type SourceFile, type SyntaxNode, walkSyntax } from './syntax.ts';

/** A requirement's number: `gateway G4`. */
export type RequirementId = string;

export interface RequirementRow {
  readonly id: RequirementId;
  readonly text: string;
  readonly state: string;
  /** Paths of the test files that show it. */
  readonly shownBy: readonly string[];
}

const ID = /^(?:gateway G|bond B|session S|swarm W|desktop D)\d+$/;

/** Functions whose first argument is the name of a test or of a group of tests. */
const NAMING = new Set(['describe', 'it', 'test', 'needs']);
/** What is not run shows nothing. */
const NOT_RUN = new Set(['skip', 'todo', 'fails']);

/** The rows of the tables in docs/requirements.md. */
export function parseRequirements(markdown: string): RequirementRow[] {
  return markdown
    .split('\n')
    .map((line) => line.split('|').map((cell) => cell.trim()))
    .filter((cells) => cells.length === 6 && ID.test(cells[1] ?? ''))
    .map(([, id = '', text = '', state = '', shownBy = '']) => ({
      id,
      text,
      state,
      shownBy: [...shownBy.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? ''),
    }));
}

/** The numbers that a capability's specification states: its lines that begin with `- **G4**`. */
export function specifiedIds(capability: string, markdown: string): RequirementId[] {
  return [...markdown.matchAll(/^- \*\*([A-Z]\d+)\*\*/gm)].map((match) => `${capability} ${match[1]}`);
}

/** Which test files have a test (or a group) whose name holds `[gateway G4]`. */
export function taggedTests(files: readonly SourceFile[]): Map<RequirementId, string[]> {
  const shown = new Map<RequirementId, string[]>();
  for (const file of files) {
    const ids = new Set(
      testNames(file).flatMap((name) => [...name.matchAll(/\[([^\]]+)\]/g)].map((tag) => tag[1] ?? '')),
    );
    for (const id of ids) {
      if (ID.test(id)) shown.set(id, [...(shown.get(id) ?? []), file.path].sort());
    }
  }
  return shown;
}

/** The names of a file's tests and groups, in any form: `test('…')`, `test.for(cases)('…')`, `needs('qemu')('…')`. */
function testNames(file: SourceFile): string[] {
  const names: string[] = [];
  walkSyntax(file, (node, parent) => {
    if (node.type !== 'CallExpression' || !Array.isArray(node['arguments'])) return;
    // Of `needs('qemu-system-x86_64')('a guest', …)` only the outer call has a name.
    if (parent?.type === 'CallExpression' && parent['callee'] === node) return;
    const called = calledNames(node);
    const name = literalText(node['arguments'][0]);
    const [first] = called;
    if (
      name !== undefined &&
      first !== undefined &&
      NAMING.has(first) &&
      !called.some((one) => NOT_RUN.has(one))
    ) {
      names.push(name);
    }
  });
  return names;
}

/** `test.for(cases)('…')` → `['test', 'for']`. */
function calledNames(node: SyntaxNode): string[] {
  const names: string[] = [];
  let current: unknown = node['callee'];
  while (isNode(current)) {
    if (current.type === 'MemberExpression') {
      names.unshift(nameOf(current['property']) ?? '');
      current = current['object'];
    } else if (current.type === 'CallExpression' || current.type === 'TaggedTemplateExpression') {
      current = current['callee'] ?? current['tag'];
    } else {
      names.unshift(nameOf(current) ?? '');
      break;
    }
  }
  return names;
}

/** What is wrong in the table, a sentence each; where a row is, the row that would be right. */
export function checkRequirements(
  rows: readonly RequirementRow[],
  shown: ReadonlyMap<RequirementId, readonly string[]>,
): string[] {
  const wrong: string[] = [];
  const known = new Set<RequirementId>();
  for (const row of rows) {
    if (known.has(row.id)) wrong.push(`${row.id} is there twice`);
    known.add(row.id);
    const files = shown.get(row.id) ?? [];
    if (!isRight(row, files)) wrong.push(`the row must be: ${rightRow(row, files)}`);
    if (row.text === '') wrong.push(`${row.id} does not say what must be true`);
  }
  for (const [id, files] of shown) {
    if (!known.has(id)) wrong.push(`${files.join(', ')}: no requirement has the number [${id}]`);
  }
  return wrong;
}

function isRight({ state, shownBy }: RequirementRow, files: readonly string[]): boolean {
  const isShown = state === 'done' || state === 'partly';
  if (!isShown && state !== 'not yet') return false;
  return isShown === files.length > 0 && files.join() === shownBy.join();
}

/** A row that had no test becomes `partly`: that it is all done is for a person to say. */
function rightRow({ id, text, state }: RequirementRow, files: readonly string[]): string {
  const rightState = files.length === 0 ? 'not yet' : state === 'done' ? 'done' : 'partly';
  const shownBy = files.map((file) => `\`${file}\``).join(', ');
  return `| ${[id, text, rightState, shownBy].join(' | ')} |`;
}
