import { gatewayError } from '../errors.ts';

/** Elements whose text is a number, and those that hold a list: `<methods><method>GET</method></methods>`. */
const NUMBERS = new Set(['cpus', 'memoryBytes', 'diskBytes']);
const LISTS = new Set(['methods', 'paths']);
/** A request is four deep. */
const DEPTH_LIMIT = 8;

/**
 * Reads a request in the XML that the API itself writes: elements and text. No document type, so nothing to expand; no
 * attributes, comments, processing instructions or CDATA, of which a request has no need. Its size is bounded by whoever
 * read it from the wire.
 *
 * @throws `invalid_xml`
 */
export function parseXmlRequest(text: string): unknown {
  const body = text.replace(/^\uFEFF?\s*(?:<\?xml\s[^<>?]*\?>)?/, '');
  const tokens = /<(\/?)([A-Za-z][A-Za-z0-9]{0,63})\s*(\/?)>|([^<>]+)/gy;
  const root: Element = { name: '', text: '', children: [] };
  const open = [root];
  for (let at = 0; at < body.length; at = tokens.lastIndex) {
    const [token, closes, name = '', isEmpty, content] = tokens.exec(body) ?? [];
    const parent = open.at(-1);
    if (token === undefined || !parent)
      throw invalid(`what begins with ${JSON.stringify(body.slice(at, at + 40))}`);
    if (content !== undefined) {
      parent.text += content;
    } else if (closes) {
      if (parent.name !== name || isEmpty) throw invalid(`</${name}> closes nothing that is open`);
      open.pop();
    } else {
      const element: Element = { name, text: '', children: [] };
      parent.children.push(element);
      if (!isEmpty) open.push(element);
      if (open.length > DEPTH_LIMIT) throw invalid(`<${name}> is too deep`);
    }
  }
  if (open.length > 1) throw invalid(`<${open.at(-1)?.name}> is not closed`);
  if (root.children.length !== 1 || root.text.trim() !== '') throw invalid('expected one element');
  return valueOf(root);
}

interface Element {
  readonly name: string;
  text: string;
  readonly children: Element[];
}

function valueOf({ name, text, children }: Element): unknown {
  if (LISTS.has(name)) return children.map(valueOf);
  if (children.length === 0) return NUMBERS.has(name) ? numberOf(text) : unescape(text).trim();
  if (text.trim() !== '') throw invalid(`<${name}> holds both elements and text`);
  const names = children.map((child) => child.name);
  if (new Set(names).size !== names.length) throw invalid(`<${name}> holds an element twice`);
  return Object.fromEntries(children.map((child) => [child.name, valueOf(child)]));
}

/** What is no number is left as it is: the check of the request says so, and where. */
const numberOf = (text: string): unknown => (/^\s*\d{1,15}\s*$/.test(text) ? Number(text) : text.trim());

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

/** The five entities that XML has without a document type, and characters by number (XML 1.0 §4.1, §4.6). */
function unescape(text: string): string {
  return text.replace(/&([^;&]{0,10};?)/g, (_, reference: string) => {
    const [, hex, decimal] = /^#(?:x([0-9a-fA-F]{1,6})|([0-9]{1,7}));$/.exec(reference) ?? [];
    const code = hex === undefined ? Number(decimal) : Number.parseInt(hex, 16);
    if (code > 0 && code <= 0x10_ff_ff) return String.fromCodePoint(code);
    const name = reference.replace(/;$/, '');
    const known = Object.hasOwn(ENTITIES, name) && reference.endsWith(';') ? ENTITIES[name] : undefined;
    if (known === undefined) throw invalid(`the entity &${reference}`);
    return known;
  });
}

const invalid = (what: string) =>
  gatewayError('invalid_xml', `the body is not the XML of a request: ${what}`);
