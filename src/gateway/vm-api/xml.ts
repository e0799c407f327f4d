/** An answer of the API as XML. */
export const XML_TYPE = 'application/xml; charset=utf-8';

/**
 * Writes an answer as XML: an element a field, the document's peers expect it so with `Accept: application/xml`
 * [gateway G4]. A list is an element whose children have its name without the `s`.
 */
export const toXml = (answer: object): string =>
  `<?xml version="1.0" encoding="UTF-8"?>\n${Object.entries(answer).map(element).join('')}\n`;

function element([name, value]: [name: string, value: unknown]): string {
  if (value === undefined) return '';
  return `<${name}>${content(name, value)}</${name}>`;
}

function content(name: string, value: unknown): string {
  if (Array.isArray(value)) return value.map((item) => element([name.replace(/s$/, ''), item])).join('');
  if (typeof value === 'object' && value !== null) return Object.entries(value).map(element).join('');
  return escape(String(value));
}

const ESCAPES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

const escape = (text: string): string =>
  text
    // XML 1.0 has no way to write most control characters.
    .replace(/[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/gu, '\uFFFD')
    .replace(/[&<>"]/g, (character) => ESCAPES[character] ?? character);
