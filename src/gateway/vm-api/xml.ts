import type { LoadedVm } from '../schema.ts';

const DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n';

/** A VM as XML: an element a field, as the document's peers expect with `Accept: application/xml` [gateway G4]. */
export const vmToXml = (vm: LoadedVm): string => `${DECLARATION}${vmElement(vm)}\n`;

export const vmsToXml = (vms: readonly LoadedVm[]): string =>
  `${DECLARATION}<virtualmachines>${vms.map(vmElement).join('')}</virtualmachines>\n`;

export const errorToXml = (error: { code: string; message: string }): string =>
  `${DECLARATION}${element('error', fields(error))}\n`;

const vmElement = (vm: LoadedVm): string => element('virtualmachine', fields(vm));

const fields = (record: object): string =>
  Object.entries(record)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => element(name, escape(String(value))))
    .join('');

const element = (name: string, content: string): string => `<${name}>${content}</${name}>`;

const ESCAPES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

const escape = (text: string): string =>
  text
    // XML 1.0 has no way to write most control characters.
    .replace(/[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/gu, '\uFFFD')
    .replace(/[&<>"]/g, (character) => ESCAPES[character] ?? character);
