import type { Clock } from '../base/index.ts';
import type { Store } from '../platform/store/index.ts';
import type { Log } from '../platform/telemetry/index.ts';
import { poolError } from './errors.ts';
import { goesWithWithdrawal, toEvict } from './image-retention.ts';
import {
  findImageUse,
  forgetImageUses,
  type ImageTables,
  loadImageUses,
  recordImageUse,
  recordWithdrawal,
} from './image-table.ts';
import { type ImageRefPolicy, parseImageRef, resolveImageRef } from './images/image-ref.ts';
import type { ImageStore, StoredImage } from './images/image-store.ts';
import type { Progress } from './schema.ts';

export interface ImageLibraryDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: Pick<Store<ImageTables>, 'db'>;
  readonly images: ImageStore;
}

export interface ImageLibraryOptions {
  readonly policyFor: (owner: string) => ImageRefPolicy;
  /** What the images may take on the disk together. */
  readonly limitBytes: number;
  /** The digests that VMs run from or may go back to. */
  readonly inUse: () => ReadonlySet<string>;
}

/** An image of an owner's, for its eyes. */
export interface OwnImage {
  readonly digest: string;
  /** Absent when it is not on this machine any more. */
  readonly stored?: StoredImage | undefined;
  readonly isWithdrawn: boolean;
}

export interface WantedImage {
  readonly owner: string;
  readonly imageRef: string;
  readonly imageDigest?: string | undefined;
}

/** The images of the owners' VMs: from where they may come, who ran which, what was withdrawn, how long they are kept. */
export class ImageLibrary {
  readonly #deps: ImageLibraryDeps;
  readonly #options: ImageLibraryOptions;

  constructor(deps: ImageLibraryDeps, options: ImageLibraryOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** Tells what is wrong with a reference at once, not by a VM that fails later. */
  async check({ owner, imageRef, imageDigest }: WantedImage): Promise<void> {
    const ref = parseImageRef(imageRef);
    const digest = ref.kind === 'stored' ? ref.digest : imageDigest;
    if (digest !== undefined) await this.checkNotWithdrawn(owner, digest);
    if (ref.kind === 'stored') await this.#stored(ref.digest);
    else await resolveImageRef(this.#deps.clock, ref, this.#options.policyFor(owner));
  }

  /** @throws `image_withdrawn` */
  async checkNotWithdrawn(owner: string, digest: string): Promise<void> {
    const use = await findImageUse(this.#deps.store.db, owner, digest);
    if (use?.isWithdrawn) throw poolError('image_withdrawn', `the image ${digest} was withdrawn by ${owner}`);
  }

  /** The image, from here or from where it is. */
  async fetch(
    { owner, imageRef, imageDigest }: WantedImage,
    signal: AbortSignal,
    onProgress: (progress: Progress) => void,
  ): Promise<StoredImage> {
    const { clock, images } = this.#deps;
    if (imageDigest !== undefined) await this.checkNotWithdrawn(owner, imageDigest);
    const held = imageDigest === undefined ? undefined : await images.find(imageDigest);
    if (held) return this.#used(owner, held, false);
    const ref = parseImageRef(imageRef);
    if (ref.kind === 'stored') return this.#used(owner, await this.#stored(ref.digest), false);
    const source = await resolveImageRef(clock, ref, this.#options.policyFor(owner));
    let wasFetched = false;
    const image = await images.import(source, {
      expectedDigest: imageDigest,
      signal,
      // What lies in that folder the operator put there.
      isTrusted: ref.kind === 'directory',
      onProgress: (doneBytes, totalBytes) => {
        wasFetched = true;
        onProgress({ doneBytes, totalBytes });
      },
    });
    await this.checkNotWithdrawn(owner, image.digest);
    await this.#used(owner, image, wasFetched);
    await this.#evict(image.digest);
    return image;
  }

  /** What this owner's VMs ran from, and what it withdrew. */
  async list(owner: string): Promise<OwnImage[]> {
    const uses = (await loadImageUses(this.#deps.store.db)).filter((use) => use.owner === owner);
    return Promise.all(
      uses.map(async ({ digest, isWithdrawn }) => ({
        digest,
        isWithdrawn,
        stored: await this.#deps.images.find(digest),
      })),
    );
  }

  /**
   * No VM of this owner is started from the image any more, and its copy here goes unless others need it.
   *
   * @throws `image_not_found` when no VM of this owner ever ran from it.
   */
  async withdraw(owner: string, digest: string): Promise<void> {
    const { clock, store, images, log } = this.#deps;
    if (!(await findImageUse(store.db, owner, digest))) {
      throw poolError('image_not_found', `no VM of yours ran from an image ${digest}`);
    }
    await recordWithdrawal(store.db, { owner, digest }, clock.nowMs());
    const uses = await loadImageUses(store.db);
    const goes = goesWithWithdrawal({ owner, digest }, uses, this.#options.inUse());
    if (goes && (await images.find(digest))) await images.remove(digest);
    log.info({ owner, image: digest, isRemoved: goes }, 'image withdrawn');
  }

  async #used(owner: string, image: StoredImage, wasFetched: boolean): Promise<StoredImage> {
    const { clock, store } = this.#deps;
    const { digest } = image;
    await recordImageUse(store.db, { owner, digest, wasFetched, usedAtMs: clock.nowMs() });
    return image;
  }

  async #evict(newest: string): Promise<void> {
    const { store, images, log } = this.#deps;
    const { limitBytes, inUse } = this.#options;
    const uses = await loadImageUses(store.db);
    const needed = new Set([...inUse(), newest]);
    for (const digest of toEvict(await images.list(), uses, needed, limitBytes)) {
      await images.remove(digest);
      await forgetImageUses(store.db, digest);
      log.info({ image: digest, limitBytes }, 'image removed to make room');
    }
  }

  async #stored(digest: string): Promise<StoredImage> {
    const image = await this.#deps.images.find(digest);
    if (!image) throw poolError('image_not_found', `no image ${digest} is stored here`);
    return image;
  }
}
