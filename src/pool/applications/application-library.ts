import type { Clock } from '../../base/index.ts';
import { poolError } from '../errors.ts';
import { type ImageRefPolicy, parseImageRef } from '../images/image-ref.ts';
import { checkApplicationSignature } from './application-signature.ts';
import { resolveApplicationRef } from './application-source.ts';
import type { ApplicationStore, StoredApplication } from './application-store.ts';
import type { DeployRequest } from './deploy-request.ts';

export interface ApplicationLibraryDeps {
  readonly clock: Clock;
  readonly store: ApplicationStore;
}

export type WantedApplication = Omit<DeployRequest, 'vm'>;

/** Brings the applications that owners ask for, from where they may come, and lets none pass that nobody vouches for. */
export class ApplicationLibrary {
  readonly #deps: ApplicationLibraryDeps;
  readonly #policyFor: (owner: string) => ImageRefPolicy;

  constructor(deps: ApplicationLibraryDeps, policyFor: (owner: string) => ImageRefPolicy) {
    this.#deps = deps;
    this.#policyFor = policyFor;
  }

  /** Tells what is wrong with a reference at once. */
  async check({ owner, applicationRef }: WantedApplication): Promise<void> {
    const ref = parseImageRef(applicationRef, 'applicationRef');
    if (ref.kind === 'stored') await this.#stored(ref.digest);
    else await resolveApplicationRef(this.#deps.clock, ref, this.#policyFor(owner));
  }

  /**
   * The application, from here or from where it is, when its digest is the one that was asked for and its signature is one
   * of the owner's.
   */
  async fetch(wanted: WantedApplication, signal: AbortSignal): Promise<StoredApplication> {
    const { owner, applicationRef, digest, authority } = wanted;
    const application = await this.#bring({ owner, applicationRef, digest }, signal);
    if (authority !== 'operator') {
      const { name } = application.manifest;
      checkApplicationSignature({ digest: application.digest, name }, authority.signature, authority.keys);
    }
    return application;
  }

  /** One that was put into a VM before. @throws `application_not_found` */
  async held(digest: string): Promise<StoredApplication> {
    return this.#stored(digest);
  }

  async #bring(
    { owner, applicationRef, digest }: Pick<WantedApplication, 'owner' | 'applicationRef' | 'digest'>,
    signal: AbortSignal,
  ): Promise<StoredApplication> {
    const { clock, store } = this.#deps;
    const ref = parseImageRef(applicationRef, 'applicationRef');
    const held = digest === undefined ? undefined : await store.find(digest);
    if (!held && ref.kind !== 'stored') {
      const source = await resolveApplicationRef(clock, ref, this.#policyFor(owner));
      return store.import(source, { expectedDigest: digest, signal });
    }
    const known = held ?? (await this.#stored(applicationRef));
    if (digest !== undefined && known.digest !== digest) {
      throw poolError('application_digest_mismatch', `${applicationRef} is not ${digest}`);
    }
    await store.touch(known.digest);
    return known;
  }

  async #stored(digest: string): Promise<StoredApplication> {
    const application = await this.#deps.store.find(digest);
    if (!application) throw poolError('application_not_found', `no application ${digest} is stored here`);
    return application;
  }
}
