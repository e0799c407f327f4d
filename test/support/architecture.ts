import { builtinModules } from 'node:module';
import { posix } from 'node:path';
import { importCircles } from './import-circles.ts';
import { clockAndChanceUses, importsOf, type SourceImport } from './source-facts.ts';
import type { SourceFile } from './syntax.ts';

/** What the files of one folder may import. */
export interface FolderRule {
  /** Other folders, single files (`pool/schema.ts`) or `*` for anything. The folder itself is always allowed. */
  readonly imports: readonly string[];
  /** npm packages: any, or only those named, and why. */
  readonly packages:
    | 'any'
    | { readonly only: readonly string[]; readonly why: string; readonly andBeyond?: boolean };
  /** Why no `node:` module may be imported, where that is so. */
  readonly noNode?: string;
  /** True where the product is imported by its own name, as its users do. */
  readonly importsProduct?: boolean;
}

export interface ArchitectureRules {
  /** By folder under `src/`, or from the top for what lies beside it. The longest name that fits a file is its rule. */
  readonly folders: Readonly<Record<string, FolderRule>>;
  /** Folders whose insides are their own: others import `index.ts`, `schema.ts` or `routes.ts`. */
  readonly capabilities: readonly string[];
  /** Folders to whose insides anything may reach. */
  readonly seesInside: readonly string[];
  /** Packages that any `*.test.ts` may import. */
  readonly testPackages: readonly string[];
  /** Folder or file → why it may use the real clock and real randomness. */
  readonly realTime: Readonly<Record<string, string>>;
  /** File → why it may be longer than `lineLimit`. */
  readonly longFiles: Readonly<Record<string, string>>;
  readonly lineLimit: number;
  /** Names of files and folders that say nothing about what is in them. */
  readonly emptyNames: readonly string[];
}

export interface ArchitectureReport {
  readonly files: number;
  readonly imports: number;
  /** `src/pool/vm.ts:3 imports …`, a sentence each. */
  readonly violations: readonly string[];
}

const DOORS = ['index.ts', 'schema.ts', 'routes.ts'];
const PRODUCT = 'orilla';

/** Holds the project's files against the rules. Pure: reads nothing but what it is given. */
export function checkArchitecture(
  files: readonly SourceFile[],
  rules: ArchitectureRules,
): ArchitectureReport {
  const facts = files.map((file) => ({ file, place: placeOf(file.path), imports: importsOf(file) }));
  const violations = facts.flatMap(({ file, place, imports }) => [
    ...checkName(file.path, rules),
    ...checkLength(file, rules),
    ...imports.flatMap((found) =>
      checkImport(file.path, place, found, rules).map((what) => `${file.path}:${found.line} ${what}`),
    ),
    ...checkTime(file, place, rules),
  ]);
  const graph = new Map(
    facts.map(({ file, imports }) => [file.path, imports.flatMap((found) => found.target ?? [])]),
  );
  violations.push(
    ...importCircles(graph).map((circle) => `${circle.join(' → ')} is a circle of imports`),
    ...checkBeyond(facts, rules),
  );
  return {
    files: files.length,
    imports: facts.reduce((sum, { imports }) => sum + imports.length, 0),
    violations,
  };
}

/** `src/pool/vm.ts` → `pool/vm.ts`; what lies beside `src` keeps its name. */
function placeOf(path: string): string {
  return path.replace(/^src\//, '');
}

const isTest = (path: string): boolean => path.endsWith('.test.ts');
const isWithin = (place: string, folder: string): boolean =>
  place === folder || place.startsWith(`${folder}/`);
const topOf = (place: string): string => place.split('/')[0] ?? place;

/** The rule of the most particular folder that a file lies in. `<any>/schema.ts` has a rule of its own. */
function ruleOf(place: string, rules: ArchitectureRules): { folder: string; rule: FolderRule } | undefined {
  const names = Object.keys(rules.folders);
  const folder =
    (/^[^/]+\/schema\.ts$/.test(place) ? names.find((name) => name === '*/schema.ts') : undefined) ??
    names.filter((name) => isWithin(place, name)).sort((a, b) => b.length - a.length)[0];
  const rule = folder === undefined ? undefined : rules.folders[folder];
  return folder !== undefined && rule ? { folder, rule } : undefined;
}

function checkImport(path: string, place: string, found: SourceImport, rules: ArchitectureRules): string[] {
  const own = ruleOf(place, rules);
  if (!own) return [`is in a folder that the table does not name`];
  const { specifier, target } = found;
  if (specifier === undefined) return ['imports something whose name is computed: no tool can follow it'];
  if (target !== undefined) return checkFolder(path, place, { specifier, target }, own, rules);

  if (specifier === PRODUCT || specifier.startsWith(`${PRODUCT}/`)) {
    return own.rule.importsProduct || isTest(path)
      ? []
      : [`imports "${specifier}": inside, imports are relative`];
  }
  if (specifier.startsWith('node:') || builtinModules.includes(specifier)) {
    return own.rule.noNode && !isTest(path)
      ? [`imports "${specifier}": ${own.folder} ${own.rule.noNode}`]
      : [];
  }
  return checkPackage(path, specifier, own, rules);
}

type OwnRule = { readonly folder: string; readonly rule: FolderRule };

function checkPackage(
  path: string,
  specifier: string,
  { folder, rule }: OwnRule,
  rules: ArchitectureRules,
): string[] {
  const name = packageName(specifier);
  if (rule.packages === 'any' || rule.packages.only.includes(name)) return [];
  if (isTest(path) && rules.testPackages.includes(name)) return [];
  return [`imports the npm package "${name}": ${folder} ${rule.packages.why}`];
}

/** `@scope/name/part` → `@scope/name`. */
function packageName(specifier: string): string {
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
}

function checkFolder(
  path: string,
  place: string,
  { specifier, target }: { specifier: string; target: string },
  { folder, rule }: OwnRule,
  rules: ArchitectureRules,
): string[] {
  const violations: string[] = [];
  if (!/\.(?:[cm]?[jt]s|json|css|html)$/.test(specifier)) {
    violations.push(`imports "${specifier}" without its extension`);
  } else if (path.endsWith('.ts') && specifier.endsWith('.js') && !target.startsWith('web/')) {
    violations.push(`imports "${specifier}": sources are imported as .ts`);
  }

  const there = placeOf(target);
  // A folder reaches what lies deeper in it, also where that has a rule of its own; never the other way round.
  const mayReach =
    isWithin(there, folder) ||
    ruleOf(there, rules)?.folder === folder ||
    rule.imports.some((name) => name === '*' || matches(there, name)) ||
    (isTest(path) && (isWithin(there, topOf(place)) || isWithin(there, 'test/support')));
  if (!mayReach)
    violations.push(`imports ${target}: ${folder} may import ${rule.imports.join(', ') || 'nothing'}`);

  const capability = rules.capabilities.find((name) => isWithin(there, name));
  const isOutside = capability !== undefined && !isWithin(place, capability);
  if (isOutside && !rules.seesInside.includes(topOf(place)) && !isTest(path) && !isDoor(there, rules)) {
    violations.push(`imports ${target}: only ${DOORS.join(', ')} of ${capability} are open to others`);
  }
  return violations;
}

function matches(place: string, name: string): boolean {
  return name === '*/schema.ts' ? /^[^/]+\/schema\.ts$/.test(place) : isWithin(place, name);
}

function isDoor(place: string, rules: ArchitectureRules): boolean {
  const folder = posix.dirname(place);
  const isOpen = rules.capabilities.includes(folder) || Object.hasOwn(rules.folders, folder);
  return isOpen && DOORS.includes(posix.basename(place));
}

/** Where a folder's ban on packages reaches further: nothing that it loads, however far away, may load one either. */
function checkBeyond(
  facts: readonly { file: SourceFile; place: string; imports: readonly SourceImport[] }[],
  rules: ArchitectureRules,
): string[] {
  const byPath = new Map(facts.map((fact) => [fact.file.path, fact]));
  return facts.flatMap(({ file, place }) => {
    const own = ruleOf(place, rules);
    if (!own || own.rule.packages === 'any' || !own.rule.packages.andBeyond || isTest(file.path)) return [];
    const { only, why } = own.rule.packages;
    const found: string[] = [];
    const seen = new Map<string, readonly string[]>([[file.path, [file.path]]]);
    for (const [path, way] of seen) {
      for (const { specifier, target, isType } of byPath.get(path)?.imports ?? []) {
        if (isType || specifier === undefined) continue;
        if (target !== undefined) {
          if (!seen.has(target)) seen.set(target, [...way, target]);
        } else if (way.length > 1 && !isBuiltIn(specifier) && !only.includes(packageName(specifier))) {
          found.push(
            `${way.join(' → ')} loads the npm package "${packageName(specifier)}": ${own.folder} ${why}`,
          );
        }
      }
    }
    return found;
  });
}

function isBuiltIn(specifier: string): boolean {
  return specifier.startsWith('node:') || builtinModules.includes(specifier);
}

function checkTime(file: SourceFile, place: string, rules: ArchitectureRules): string[] {
  const isFree = isTest(file.path) || Object.keys(rules.realTime).some((name) => isWithin(place, name));
  if (isFree) return [];
  return clockAndChanceUses(file).map(
    ({ name, line }) =>
      `${file.path}:${line} uses ${name}: time and randomness are handed in (base/clock.ts, base/random.ts)`,
  );
}

function checkName(path: string, rules: ArchitectureRules): string[] {
  return path
    .split('/')
    .map((part) => part.replace(/\..*$/, ''))
    .filter((part) => rules.emptyNames.includes(part))
    .map((part) => `${path} is named "${part}", which says nothing: name it for what it holds`);
}

function checkLength({ path, source }: SourceFile, rules: ArchitectureRules): string[] {
  const lines = source.split('\n').length - 1;
  if (lines <= rules.lineLimit || Object.hasOwn(rules.longFiles, path)) return [];
  return [`${path} has ${lines} lines, more than ${rules.lineLimit}: it holds more than one idea`];
}
