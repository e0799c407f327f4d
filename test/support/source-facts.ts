import { posix } from 'node:path';
import {
  isNode,
  lineAt,
  literalText,
  nameOf,
  type SourceFile,
  type SyntaxNode,
  walkSyntax,
} from './syntax.ts';

/** One import of a file, in any of its forms (`import`, `export … from`, `import()`, `import('…').Type`). */
export interface SourceImport {
  /** What is written in quotes; `undefined` when it is computed. */
  readonly specifier: string | undefined;
  /** The file that a relative specifier means, from the project's top. */
  readonly target: string | undefined;
  /** True when nothing of it is left at run time. */
  readonly isType: boolean;
  readonly line: number;
}

export function importsOf(file: SourceFile): SourceImport[] {
  const found: SourceImport[] = [];
  walkSyntax(file, (node) => {
    const source = importSource(node);
    if (source === undefined) return;
    const specifier = isComputed(source) ? undefined : literalText(source)?.replace(/\?.*$/, '');
    found.push({
      specifier,
      target: specifier?.startsWith('.') ? posix.join(posix.dirname(file.path), specifier) : undefined,
      isType: isTypeOnly(node),
      line: lineAt(file.source, node.start),
    });
  });
  return found;
}

function importSource(node: SyntaxNode): unknown {
  switch (node.type) {
    case 'ImportDeclaration':
    case 'ExportAllDeclaration':
    case 'ImportExpression':
    case 'TSImportType':
      return node['source'];
    case 'ExportNamedDeclaration':
      return node['source'] ?? undefined;
    default:
      return undefined;
  }
}

function isComputed(source: unknown): boolean {
  return isNode(source) && source.type === 'TemplateLiteral' && !isEmpty(source['expressions']);
}

/** `import { type A } from` is not among them: it still loads the module. */
function isTypeOnly(node: SyntaxNode): boolean {
  return node.type === 'TSImportType' || node['importKind'] === 'type' || node['exportKind'] === 'type';
}

/** Modules that are nothing but a clock. */
const TIME_MODULES = new Set(['node:timers', 'node:timers/promises', 'node:perf_hooks']);
const TIMERS = new Set(['setTimeout', 'setInterval', 'setImmediate']);
const GLOBAL_OBJECTS = new Set(['globalThis', 'window', 'self']);
const CLOCK_MEMBERS = new Set([
  'Date.now',
  'performance.now',
  'process.hrtime',
  'AbortSignal.timeout',
  'Math.random',
]);
const RANDOM = new Set([
  'getRandomValues',
  'randomBytes',
  'randomFill',
  'randomFillSync',
  'randomInt',
  'randomUUID',
  'randomUUIDv7',
]);

/** Where a file reads the real clock, sets a real timer or draws real randomness. */
export function clockAndChanceUses(file: SourceFile): { name: string; line: number }[] {
  const found: { name: string; line: number }[] = [];
  walkSyntax(file, (node, parent, field) => {
    const name = realUse(node, parent, field);
    if (name !== undefined) found.push({ name, line: lineAt(file.source, node.start) });
  });
  return found;
}

function realUse(node: SyntaxNode, parent: SyntaxNode | undefined, field: string): string | undefined {
  switch (node.type) {
    case 'ImportDeclaration': {
      const specifier = literalText(node['source']);
      return specifier !== undefined && TIME_MODULES.has(specifier) ? specifier : undefined;
    }
    case 'ImportSpecifier': {
      const imported = nameOf(node['imported']);
      return imported !== undefined && RANDOM.has(imported) ? imported : undefined;
    }
    case 'MemberExpression': {
      const [object, property] = [nameOf(node['object']), memberName(node)];
      if (property === undefined) return undefined;
      const path = `${object ?? ''}.${property}`;
      const isTimer = object !== undefined && GLOBAL_OBJECTS.has(object) && TIMERS.has(property);
      return isTimer || CLOCK_MEMBERS.has(path) || RANDOM.has(property) ? path.replace(/^\./, '') : undefined;
    }
    case 'NewExpression':
      // `new Date(value)` only converts.
      return nameOf(node['callee']) === 'Date' && isEmpty(node['arguments']) ? 'new Date()' : undefined;
    case 'CallExpression':
      return nameOf(node['callee']) === 'Date' ? 'Date()' : undefined;
    case 'Identifier': {
      const name = nameOf(node);
      return name !== undefined && TIMERS.has(name) && !isNameOfMember(parent, field) ? name : undefined;
    }
    default:
      return undefined;
  }
}

function memberName(node: SyntaxNode): string | undefined {
  return node['computed'] === true ? literalText(node['property']) : nameOf(node['property']);
}

function isEmpty(list: unknown): boolean {
  return Array.isArray(list) && list.length === 0;
}

/** True for the `setTimeout` of `socket.setTimeout()` and of a class or an interface that has such a member. */
function isNameOfMember(parent: SyntaxNode | undefined, field: string): boolean {
  return (
    parent !== undefined &&
    parent['computed'] !== true &&
    (field === 'property' || field === 'key' || field === 'imported')
  );
}
