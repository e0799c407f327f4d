import type { ApplicationKey } from './application-signature.ts';

/**
 * Why an application may be put into a VM: the operator says so, or it is signed with one of the keys that the operator
 * registered for the owner.
 */
export type DeployAuthority =
  | 'operator'
  | { readonly signature: string; readonly keys: readonly ApplicationKey[] };

/** What an owner asks for: this application in that VM [gateway G13]. */
export interface DeployRequest {
  readonly vm: string;
  readonly owner: string;
  /** A URL, a file below the gateway's image directory, or the digest of one that is held here. */
  readonly applicationRef: string;
  /** `sha256:…`: nothing else is taken. */
  readonly digest?: string | undefined;
  readonly authority: DeployAuthority;
}
