/**
 * HTTP Message Signatures (RFC 9421), as far as a request is concerned and with two algorithms: `hmac-sha256` for peers that
 * share a key, `ed25519` for everybody else. The crypto is handed in.
 *
 *     Signature-Input: orilla=("@method" "@authority" "@path" "bng-api-url");created=1764000000;expires=1764000060;nonce="…";keyid="…";alg="hmac-sha256"
 *     Signature: orilla=:<base64>:
 *
 * What is signed is the signature base (§2.5): a line for each covered component, then the parameters.
 * @module
 */

export type SignatureAlgorithm = 'hmac-sha256' | 'ed25519';

export interface SigningKey {
  readonly keyId: string;
  readonly algorithm: SignatureAlgorithm;
  /** The signature, in base64, of a signature base, which is Latin-1. */
  sign(base: string): string;
}

export interface VerifyingKey {
  readonly algorithm: SignatureAlgorithm;
  verify(base: Uint8Array, signature: Uint8Array): boolean;
}

/** The parts of a request that a signature can cover. */
export interface SignedRequest {
  readonly method: string;
  /** The host as the receiver is asked for it, with its port unless that is the scheme's own. */
  readonly authority: string;
  /** Path without query, never empty. */
  readonly path: string;
  /** Field values by lower-case name; several of one name joined by `, `. */
  readonly fields: Readonly<Record<string, string | undefined>>;
}

/** When a signature was made and until when it holds, in seconds since 1970, and what makes it the only one. */
export interface SignatureTimes {
  readonly createdS: number;
  readonly expiresS: number;
  readonly nonce: string;
}

/** The name under which this signature stands in both fields. */
const LABEL = 'orilla';
const DERIVED = ['@method', '@authority', '@path'] as const;

/**
 * Signs method, authority, path and the named fields of one request after the other. What it returns gives the values of
 * `Signature-Input` and `Signature`.
 */
export function requestSigner(
  key: SigningKey,
  fieldNames: readonly string[],
): (
  request: SignedRequest,
  times: SignatureTimes,
) => { readonly signatureInput: string; readonly signature: string } {
  const covered = [...DERIVED, ...fieldNames];
  const list = `(${covered.map((name) => `"${name}"`).join(' ')})`;
  const keyParameters = `;keyid="${key.keyId}";alg="${key.algorithm}"`;
  return (request, { createdS, expiresS, nonce }) => {
    const parameters = `${list};created=${createdS};expires=${expiresS};nonce="${nonce}"${keyParameters}`;
    const base = signatureBase(request, covered, parameters);
    if (base === undefined) throw new Error(`a field to be signed is missing: ${fieldNames.join(', ')}`);
    return { signatureInput: `${LABEL}=${parameters}`, signature: `${LABEL}=:${key.sign(base)}:` };
  };
}

export type SignatureVerdict =
  | { readonly isValid: true; readonly keyId: string; readonly nonce: string; readonly expiresS: number }
  | { readonly isValid: false; readonly reason: string };

export interface VerificationRules {
  /** The key behind an id, when it is one that is trusted. Nothing is fetched. */
  readonly keyOf: (keyId: string) => VerifyingKey | undefined;
  /** Components that must be covered beside method, authority and path. */
  readonly fieldNames: readonly string[];
  readonly nowS: number;
  /** A signature older than this is refused, whatever it says of its end. */
  readonly maxAgeS: number;
}

/** How far the clocks of two machines may differ. */
const CLOCK_SKEW_S = 5;
const FIELD_LIMIT = 4096;

/** Whether the request carries a signature of a trusted key over all that must be covered, made just now. */
export function verifyRequest(request: SignedRequest, rules: VerificationRules): SignatureVerdict {
  const refuse = (reason: string): SignatureVerdict => ({ isValid: false, reason });
  const { 'signature-input': inputField, signature: signatureField } = request.fields;
  if (inputField === undefined || signatureField === undefined) return refuse('the request is not signed');
  if (inputField.length > FIELD_LIMIT || signatureField.length > FIELD_LIMIT)
    return refuse('a signature field is too long');
  const input = parseSignatureInput(inputField);
  const signature = parseSignature(signatureField);
  if (!input || !signature) return refuse(`there is no well-formed signature named ${LABEL}`);

  const { covered, parameters, keyId, algorithm, createdS, expiresS, nonce } = input;
  const missing = [...DERIVED, ...rules.fieldNames].find((name) => !covered.includes(name));
  if (missing !== undefined) return refuse(`the signature does not cover ${missing}`);
  if (createdS > rules.nowS + CLOCK_SKEW_S) return refuse('the signature is from the future');
  if (rules.nowS > expiresS + CLOCK_SKEW_S || rules.nowS - createdS > rules.maxAgeS + CLOCK_SKEW_S) {
    return refuse('the signature is too old');
  }
  const key = rules.keyOf(keyId);
  if (!key) return refuse('the key is not one that is trusted here');
  // The key decides the algorithm; what the message claims may only agree.
  if (algorithm !== undefined && algorithm !== key.algorithm)
    return refuse('the algorithm is not that of the key');
  const base = signatureBase(request, covered, parameters);
  if (!base) return refuse('a covered component is missing');
  return key.verify(new TextEncoder().encode(base), signature)
    ? { isValid: true, keyId, nonce, expiresS }
    : refuse('the signature is wrong');
}

/** RFC 9421 §2.5. `undefined` when a component is not in the request. */
function signatureBase(
  request: SignedRequest,
  covered: readonly string[],
  parameters: string,
): string | undefined {
  let base = '';
  for (const name of covered) {
    const value = componentValue(request, name);
    if (value === undefined) return undefined;
    base += `"${name}": ${value}\n`;
  }
  return `${base}"@signature-params": ${parameters}`;
}

function componentValue(request: SignedRequest, name: string): string | undefined {
  switch (name) {
    case '@method':
      return request.method;
    case '@authority':
      return request.authority.toLowerCase();
    case '@path':
      return request.path;
    default:
      return request.fields[name]?.trim();
  }
}

interface SignatureInput {
  readonly covered: readonly string[];
  /** As they stand in the field: they are part of what is signed. */
  readonly parameters: string;
  readonly keyId: string;
  readonly algorithm: string | undefined;
  readonly createdS: number;
  readonly expiresS: number;
  readonly nonce: string;
}

/**
 * Reads our member of the dictionary (RFC 8941 §3.2), in the narrow form that gateways write: no parameters on components,
 * none twice.
 */
function parseSignatureInput(field: string): SignatureInput | undefined {
  const member = new RegExp(
    `(?:^|,\\s*)${LABEL}=(\\(((?:"[!#-~]+" ?)+)\\)((?:;[a-z]+=(?:\\d{1,15}|"[ !#-~]*"))+))(?=\\s*(?:,|$))`,
  ).exec(field);
  const [, parameters, list, rest] = member ?? [];
  if (parameters === undefined || list === undefined || rest === undefined) return undefined;
  const covered = Array.from(list.matchAll(/"([^"]+)"/g), ([, name = '']) => name);
  const values = new Map(
    Array.from(rest.matchAll(/;([a-z]+)=(?:(\d+)|"([^"]*)")/g), ([, name = '', number, text]) => [
      name,
      number ?? text ?? '',
    ]),
  );
  const [keyId, created, expires, nonce] = ['keyid', 'created', 'expires', 'nonce'].map((name) =>
    values.get(name),
  );
  if (keyId === undefined || created === undefined || expires === undefined || !nonce) return undefined;
  if (new Set(covered).size !== covered.length) return undefined;
  return {
    covered,
    parameters,
    keyId,
    algorithm: values.get('alg'),
    createdS: Number(created),
    expiresS: Number(expires),
    nonce,
  };
}

function parseSignature(field: string): Uint8Array | undefined {
  const text = new RegExp(`(?:^|,\\s*)${LABEL}=:([A-Za-z0-9+/]{1,256}={0,2}):(?=\\s*(?:,|$))`).exec(
    field,
  )?.[1];
  if (text === undefined) return undefined;
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    return undefined;
  }
}
