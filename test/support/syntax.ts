import { readdirSync, readFileSync } from 'node:fs';
import { join, sep } from 'node:path';
import { parseSync } from 'oxc-parser';

/** A file of the project: its path from the top, with `/`, and its text. */
export interface SourceFile {
  readonly path: string;
  readonly source: string;
}

/** A node of the syntax tree (ESTree with TypeScript's nodes). */
export interface SyntaxNode {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [field: string]: unknown;
}

/** Reads every TypeScript and JavaScript file under the given folders. A folder that does not exist has none. */
export function readSources(root: string, folders: readonly string[]): SourceFile[] {
  return folders.flatMap((folder) =>
    listFiles(join(root, folder))
      .filter((file) => /\.[cm]?[jt]sx?$/.test(file))
      .map((file) => ({
        path: `${folder}/${file.split(sep).join('/')}`,
        source: readFileSync(join(root, folder, file), 'utf8'),
      })),
  );
}

function listFiles(folder: string): string[] {
  try {
    return readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
      (file) => !file.split(sep).some((part) => part === 'node_modules' || part === 'dist'),
    );
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}

/**
 * Calls `visit` for each node of a file, parents first, with the node above it and the field in which it hangs there.
 * Throws when the file does not parse, so that no check passes because it saw nothing.
 */
export function walkSyntax(
  { path, source }: SourceFile,
  visit: (node: SyntaxNode, parent: SyntaxNode | undefined, field: string) => void,
): void {
  const { program, errors } = parseSync(path, source);
  const [error] = errors;
  if (error) throw new Error(`${path} does not parse: ${error.message}`);

  const descend = (value: unknown, parent: SyntaxNode | undefined, field: string): void => {
    if (Array.isArray(value)) {
      for (const item of value) descend(item, parent, field);
    } else if (isNode(value)) {
      visit(value, parent, field);
      for (const [name, child] of Object.entries(value)) {
        if (typeof child === 'object' && child !== null) descend(child, value, name);
      }
    }
  };
  descend(program, undefined, '');
}

export function isNode(value: unknown): value is SyntaxNode {
  return typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string';
}

/** The text of a string or of a template without gaps; a template's gaps come back as `…`. */
export function literalText(node: unknown): string | undefined {
  if (!isNode(node)) return undefined;
  if (node.type === 'Literal' && typeof node['value'] === 'string') return node['value'];
  if (node.type === 'TemplateLiteral' && Array.isArray(node['quasis'])) {
    return node['quasis'].map((quasi: { value: { cooked: string } }) => quasi.value.cooked).join('…');
  }
  return undefined;
}

/** The name of an identifier. */
export function nameOf(node: unknown): string | undefined {
  return isNode(node) && node.type === 'Identifier' && typeof node['name'] === 'string'
    ? node['name']
    : undefined;
}

/** The line, counted from 1, in which an offset lies. */
export function lineAt(source: string, offset: number): number {
  let line = 1;
  for (let at = source.indexOf('\n'); at !== -1 && at < offset; at = source.indexOf('\n', at + 1)) line += 1;
  return line;
}
