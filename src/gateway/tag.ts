/**
 * The tag: the header by which an origin learns that this gateway can run its server, and where to ask for that
 * [gateway G1]. Three forms:
 *
 *     Bng-API-Server: 11.22.1.1                                                    api-server
 *     Bng-API-Server: virtualmachine.api.bng1234.example                           api-server
 *     Bng-API-URL: virtualmachine.api.bng1234.example/version1/virtualmachine      api-url
 * @module
 */
import { requestSigner, type SignedRequest, type SigningKey } from '../trust/index.ts';

export const TAG_FORMS = ['api-server', 'api-url'] as const;
export type TagForm = (typeof TAG_FORMS)[number];

/** Where the VM-loading API answers, below the address in the tag [gateway G4]. */
export const VM_API_PATH = '/version1/virtualmachine';

/** What a gateway adds to each request that it forwards to an origin. */
export interface Tag {
  readonly name: 'Bng-API-Server' | 'Bng-API-URL';
  readonly value: string;
  /** The document's digest of the value, MD5 in hexadecimal, for peers that want it [gateway G2]. It proves nothing. */
  readonly digest?: string | undefined;
}

/** The VM that runs here for an origin, named to it in each request that still goes there [gateway G12]. */
export interface AssignedServer {
  /** Its host name, with a port when it is not the scheme's own. */
  readonly value: string;
  readonly digest?: string | undefined;
}

/** @param address host name or IP address of the VM API, with a port when it is not the scheme's own. */
export function makeTag(form: TagForm, address: string, md5?: (text: string) => string): Tag {
  const value = form === 'api-server' ? address : `${address}${VM_API_PATH}`;
  return { name: form === 'api-server' ? 'Bng-API-Server' : 'Bng-API-URL', value, digest: md5?.(value) };
}

/** A signed tag holds for this long: as long as a request may be on its way. */
const SIGNATURE_LIFETIME_S = 60;

/** The moment of a signature: seconds since 1970, and 128 random bits. */
export interface SigningMoment {
  readonly nowS: number;
  readonly nonce: string;
}

/**
 * Writes the tag for one request after the other, each field with its CR LF: the tag, its digest when there is one, and the
 * signature over it (RFC 9421) together with the request's method, authority and path, so that it cannot be cut out and
 * pasted onto another request.
 */
export function tagWriter(
  tag: Tag,
  key?: SigningKey,
  assigned?: AssignedServer,
): (request: Pick<SignedRequest, 'method' | 'authority' | 'path'>, moment: SigningMoment) => string {
  const fields: Record<string, string> = { [tag.name.toLowerCase()]: tag.value };
  let lines = line(tag.name, tag.value) + line('Bng-API-Digest', tag.digest);
  if (assigned) {
    fields[ASSIGNED_SERVER_FIELD.toLowerCase()] = assigned.value;
    lines += line(ASSIGNED_SERVER_FIELD, assigned.value) + line('Bng-assigned-Digest', assigned.digest);
  }
  if (!key) return () => lines;
  const sign = requestSigner(key, Object.keys(fields));
  return ({ method, authority, path }, { nowS, nonce }) => {
    const times = { createdS: nowS, expiresS: nowS + SIGNATURE_LIFETIME_S, nonce };
    const { signatureInput, signature } = sign({ method, authority, path, fields }, times);
    return `${lines}Signature-Input: ${signatureInput}\r\nSignature: ${signature}\r\n`;
  };
}

/** As the document spells it [gateway G12]. */
export const ASSIGNED_SERVER_FIELD = 'Bng-assigned-Server';

const line = (name: string, value: string | undefined): string =>
  value === undefined ? '' : `${name}: ${value}\r\n`;
