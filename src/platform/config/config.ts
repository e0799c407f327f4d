import { isMap, isNode, isScalar, isSeq, LineCounter, parseDocument, visit } from 'yaml';
import { z } from 'zod';
import { defineErrors, parseBytes, parseDurationMs } from '../../base/index.ts';

export const configError = defineErrors({ config_invalid: 500 });

const A_SIZE = 'expected a size with a unit: B, KiB, MiB, GiB or TiB, for example "128 MiB"';
const A_DURATION = 'expected a duration with a unit: ms, s, min or h, for example "30 s"';
const AN_ADDRESS = 'expected a port, or an address and a port, for example "0.0.0.0:8080" or "[::]:8080"';

/** A size in a configuration: `128 MiB`. Read as octets. */
export const byteSizeSchema = z.string(A_SIZE).transform((text, context) => {
  const sizeBytes = parseBytes(text);
  if (sizeBytes !== undefined) return sizeBytes;
  context.addIssue(A_SIZE);
  return z.NEVER;
});

/** A duration in a configuration: `30 s`. Read as milliseconds. */
export const durationSchema = z.string(A_DURATION).transform((text, context) => {
  const durationMs = parseDurationMs(text);
  if (durationMs !== undefined) return durationMs;
  context.addIssue(A_DURATION);
  return z.NEVER;
});

/** Where to listen: `8080`, `127.0.0.1:8080` or `[::1]:8080`. A bare port listens on loopback only. */
export const listenSchema = z.union([z.string(AN_ADDRESS), z.number()]).transform((value, context) => {
  const match = /^(?:(\[[0-9a-fA-F:.]+\]|[^\s:[\]]+):)?(\d{1,5})$/.exec(String(value));
  const port = Number(match?.[2]);
  if (match && port <= 65_535) {
    return { host: (match[1] ?? '127.0.0.1').replace(/^\[|\]$/g, ''), port };
  }
  context.addIssue(AN_ADDRESS);
  return z.NEVER;
});

/** A DNS name, without port. */
export const hostNameSchema = z
  .string()
  .regex(
    /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/,
    'expected a host name in lower case, without port, for example "photos.example"',
  );

/** An HTTP server: `http://192.0.2.7:9000`. */
export const httpServerSchema = z.string().transform((text, context) => {
  const url = text.length <= 512 && URL.canParse(text) ? new URL(text) : undefined;
  if (
    url &&
    /^https?:$/.test(url.protocol) &&
    url.pathname === '/' &&
    url.search === '' &&
    url.username === ''
  ) {
    const isTls = url.protocol === 'https:';
    return {
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: Number(url.port) || (isTls ? 443 : 80),
      isTls,
      authority: url.host,
    };
  }
  context.addIssue('expected the URL of a server without path, for example "http://192.0.2.7:9000"');
  return z.NEVER;
});

/** The URL of a server that `httpServerSchema` has read. */
export const httpServerUrl = ({
  isTls,
  authority,
}: Pick<z.output<typeof httpServerSchema>, 'isTls' | 'authority'>) =>
  `${isTls ? 'https' : 'http'}://${authority}`;

/**
 * Reads a YAML text and checks it.
 *
 * @param source what to call the text in messages: the file's name.
 * @throws `config_invalid` naming, for each fault, the line, the key, the value and what was expected.
 */
export function parseConfig<Schema extends z.ZodType>(
  schema: Schema,
  text: string,
  source: string,
): z.output<Schema> {
  const lines = new LineCounter();
  // Aliases are not needed here, and a few of them can grow a short text to gigabytes.
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const lineAt = (offset: number) => lines.linePos(offset).line;
  if (document.errors.length > 0) {
    throw invalid(document.errors.map((e) => `${source}:${lineAt(e.pos[0])}: ${e.message}`));
  }
  const aliases: string[] = [];
  visit(document, {
    Alias: (_key, node) => {
      aliases.push(`${source}:${lineAt(node.range?.[0] ?? 0)}: aliases (*${node.source}) are not supported`);
    },
  });
  if (aliases.length > 0) throw invalid(aliases);
  const value: unknown = document.toJS({ maxAliasCount: 0 }) ?? {};
  const result = schema.safeParse(value, { reportInput: true });
  if (result.success) return result.data;
  throw invalid(
    result.error.issues
      .flatMap(flatten)
      .map((issue) => ({ issue, offset: closestOffset(document, issue.path) }))
      .sort((a, b) => a.offset - b.offset)
      .map(({ issue, offset }) => `${source}:${lineAt(offset)}: ${describe(issue)}`),
  );
}

const invalid = (faults: readonly string[]) => configError('config_invalid', faults.join('\n'));

/**
 * One issue for each unknown key, so that each is told with its line. And a union's own message says only "invalid
 * input", that of a record's key no more; what its first branch or the key's schema said is more use.
 */
function flatten(issue: z.core.$ZodIssue): z.core.$ZodIssue[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ ...issue, path: [...issue.path, key], keys: [key] }));
  }
  const [inner] = issue.code === 'invalid_union' ? (issue.errors[0] ?? []) : [];
  if (inner) return flatten({ ...inner, path: [...issue.path, ...inner.path] });
  const [ofKey] = issue.code === 'invalid_key' ? issue.issues : [];
  return ofKey ? [{ ...ofKey, path: issue.path }] : [issue];
}

function describe(issue: z.core.$ZodIssue): string {
  const key = issue.path
    .map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`))
    .join('');
  const name = key.replace(/^\./, '') || 'the configuration';
  if (issue.code === 'unrecognized_keys') {
    return `${name}: unknown key`;
  }
  // Zod's "Invalid input: expected record, received undefined": what was received is said here, with its value.
  const expected = issue.message.replace(/^Invalid input: /, '').replace(/, received .*$/, '');
  if (issue.input === undefined) return `${name}: missing; ${expected}`;
  return `${name}: got ${JSON.stringify(issue.input)?.slice(0, 120)}: ${expected}`;
}

/** Where the deepest part of the path that the text has begins: a key of a map, an item of a list. */
function closestOffset(document: ReturnType<typeof parseDocument>, path: readonly PropertyKey[]): number {
  for (let length = path.length; length > 0; length -= 1) {
    const parent = document.getIn(path.slice(0, length - 1), true);
    const last = path[length - 1];
    const key = isMap(parent)
      ? parent.items.find((item) => isScalar(item.key) && item.key.value === last)?.key
      : undefined;
    const node = isSeq(parent) ? parent.items[Number(last)] : key;
    if (isNode(node) && node.range) return node.range[0];
  }
  return document.contents?.range?.[0] ?? 0;
}
