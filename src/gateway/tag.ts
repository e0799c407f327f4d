/**
 * The tag: the header by which an origin learns that this gateway can run its server, and where to ask for that
 * [gateway G1]. Three forms:
 *
 *     Bng-API-Server: 11.22.1.1                                                    api-server
 *     Bng-API-Server: virtualmachine.api.bng1234.example                           api-server
 *     Bng-API-URL: virtualmachine.api.bng1234.example/version1/virtualmachine      api-url
 * @module
 */

export const TAG_FORMS = ['api-server', 'api-url'] as const;
export type TagForm = (typeof TAG_FORMS)[number];

/** Where the VM-loading API answers, below the address in the tag [gateway G4]. */
export const VM_API_PATH = '/version1/virtualmachine';

export interface TagHeader {
  readonly name: 'Bng-API-Server' | 'Bng-API-URL';
  readonly value: string;
}

/** @param address host name or IP address of the VM API, with a port when it is not the scheme's own. */
export function tagHeader(form: TagForm, address: string): TagHeader {
  return form === 'api-server'
    ? { name: 'Bng-API-Server', value: address }
    : { name: 'Bng-API-URL', value: `${address}${VM_API_PATH}` };
}

/**
 * True for a header that only a gateway may write: one that a client sends could pass for the gateway's word. Origins
 * behind CGI see `-` and `_` as one, so both are looked at.
 */
export function isReservedHeader(name: string): boolean {
  return /^(?:bng[-_]|signature(?:[-_]|$)|orilla[-_])/i.test(name);
}
