import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { Clock, Random } from '../../base/index.ts';
import { configError } from '../../platform/config/index.ts';
import type { Store } from '../../platform/store/index.ts';
import type { Log } from '../../platform/telemetry/index.ts';
import { TokenVerifier } from '../../trust/index.ts';
import { sharedTagKey } from '../tag-key.ts';
import { originError } from './errors.ts';
import { hostFaults } from './host-rules.ts';
import type { ConfiguredOrigin, Origin } from './origin.ts';
import { deleteOrigin, insertOrigin, loadOrigins, type OriginTables } from './origin-table.ts';
import { makeTokens, type OriginTokens, readTokens, removeTokens, rotateTokens } from './origin-tokens.ts';
import type { NewOrigin, RotationStep } from './schema.ts';

export interface OriginDirectoryDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly store: Store<OriginTables>;
}

export interface OriginDirectoryOptions {
  /** The domain under which VMs have their names, and no origin its hosts. */
  readonly edgeDomain: string;
  /** Where the tokens of added origins are kept. */
  readonly tokenFolder: string;
}

/** What is known of one origin. */
interface Entry {
  readonly spec: NewOrigin;
  readonly source: Origin['source'];
  readonly enrolment?: Enrolment | undefined;
}

interface Enrolment {
  readonly file: string;
  readonly tokens: OriginTokens;
}

/** More than this are added by a program that has lost its way. */
const ADDED_LIMIT = 1000;

const sha256 = (octets: Uint8Array): Uint8Array => createHash('sha256').update(octets).digest();

/**
 * Who is an origin of this gateway: those that the configuration names, and those that were added by command. One change
 * at a time; it is on the disk before anyone hears of it.
 */
export class OriginDirectory {
  readonly #deps: OriginDirectoryDeps;
  readonly #options: OriginDirectoryOptions;
  readonly #listeners = new Set<() => void>();
  /** By name, those of the configuration first. */
  #entries: ReadonlyMap<string, Entry> = new Map();
  #origins: ReadonlyMap<string, Origin> = new Map();
  #verifier = new TokenVerifier<string>(sha256, []);
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(deps: OriginDirectoryDeps, options: OriginDirectoryOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** @throws `config_invalid` when the configuration and what was added do not go together, `secret_file_unusable` */
  static async open(
    deps: OriginDirectoryDeps,
    options: OriginDirectoryOptions,
    configured: readonly ConfiguredOrigin[],
  ): Promise<OriginDirectory> {
    const directory = new OriginDirectory(deps, options);
    const added = await loadOrigins(deps.store.db);
    const entries: Entry[] = [];
    for (const spec of added) {
      const file = spec.offload ? directory.#tokenFile(spec.name) : undefined;
      entries.push(await directory.#enrol(spec, 'command', file));
    }
    directory.#entries = byName(entries);
    await directory.configure(configured);
    return directory;
  }

  list(): readonly Origin[] {
    return [...this.#origins.values()];
  }

  find(name: string): Origin | undefined {
    return this.#origins.get(name);
  }

  /** Whose token it is; `undefined` when it is nobody's. */
  originOf(token: string): string | undefined {
    return this.#verifier.verify(token);
  }

  /** Every token that is accepted, with its origin. */
  tokens(): (readonly [token: string, origin: string])[] {
    return [...this.#entries.values()].flatMap(({ spec, enrolment }) => {
      const { current, next } = enrolment?.tokens ?? {};
      return [current, next].flatMap((token) => (token === undefined ? [] : [[token, spec.name] as const]));
    });
  }

  /** Calls `listener` after every change, until it is disposed of. */
  subscribe(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /**
   * Takes over what the configuration names now, tokens read anew; all of it, or nothing when it throws.
   *
   * @throws `config_invalid`, `secret_file_unusable`
   */
  configure(configured: readonly ConfiguredOrigin[]): Promise<void> {
    return this.#inTurn(async () => {
      const added = this.#added();
      this.#checkConfigured(configured, added);
      const entries: Entry[] = [];
      for (const { offload, ...spec } of configured) {
        const { tokenFile, ...limits } = offload ?? { tokenFile: undefined };
        const bare: NewOrigin = {
          ...spec,
          offload: offload && (limits as NonNullable<NewOrigin['offload']>),
        };
        entries.push(await this.#enrol(bare, 'configuration', tokenFile));
      }
      this.#replace([...entries, ...added]);
    });
  }

  /**
   * Adds an origin. Its token is shown this once.
   *
   * @throws `origin_taken`, `host_refused`, `origins_full`, `secret_file_unusable`
   */
  add(spec: NewOrigin): Promise<{ origin: Origin; token?: string }> {
    return this.#inTurn(async () => {
      const { random, clock, store, log } = this.#deps;
      this.#checkNew(spec);
      const file = this.#tokenFile(spec.name);
      const enrolment = spec.offload && { file, tokens: await makeTokens(random, file) };
      await insertOrigin(store.db, spec, clock.nowMs());
      this.#replace([...this.#entries.values(), { spec, source: 'command', enrolment }]);
      log.info({ origin: spec.name, hosts: spec.hosts }, 'origin added');
      return { origin: this.#get(spec.name), ...(enrolment && { token: enrolment.tokens.current }) };
    });
  }

  /** Forgets an added origin, its tokens with it. @throws `origin_not_found`, `origin_configured`, `secret_file_unusable` */
  remove(name: string): Promise<void> {
    return this.#inTurn(async () => {
      const { source } = this.#get(name);
      if (source === 'configuration') {
        throw originError(
          'origin_configured',
          `${name} stands in the configuration under gateway.origins; take it out there and reload`,
        );
      }
      const { store, log } = this.#deps;
      await deleteOrigin(store.db, name);
      this.#replace([...this.#entries.values()].filter(({ spec }) => spec.name !== name));
      log.info({ origin: name }, 'origin removed');
      await removeTokens(this.#tokenFile(name));
    });
  }

  /**
   * Changes an origin's token, in two steps or at once. A token that was made is shown this once.
   *
   * @throws `origin_not_found`, `origin_without_token`, `rotation_under_way`, `rotation_not_begun`, `secret_file_unusable`
   */
  rotate(name: string, step: RotationStep): Promise<{ origin: Origin; token?: string }> {
    return this.#inTurn(async () => {
      this.#get(name);
      const entry = this.#entries.get(name);
      if (!entry?.enrolment) {
        throw originError('origin_without_token', `${name} may not load VMs, so it has no token`);
      }
      const { file, tokens: before } = entry.enrolment;
      const { tokens, made } = await rotateTokens(this.#deps.random, file, before, step);
      const changed = { ...entry, enrolment: { file, tokens } };
      this.#replace([...this.#entries.values()].map((other) => (other === entry ? changed : other)));
      this.#deps.log.info({ origin: name, step }, 'origin token rotated');
      return { origin: this.#get(name), ...(made !== undefined && { token: made }) };
    });
  }

  #added(): Entry[] {
    return [...this.#entries.values()].filter(({ source }) => source === 'command');
  }

  #get(name: string): Origin {
    const origin = this.#origins.get(name);
    if (!origin) throw originError('origin_not_found', `no origin is named ${JSON.stringify(name)}`);
    return origin;
  }

  #tokenFile(name: string): string {
    return join(this.#options.tokenFolder, `${name}.token`);
  }

  async #enrol(spec: NewOrigin, source: Origin['source'], file: string | undefined): Promise<Entry> {
    if (file === undefined) return { spec, source };
    const { random, log } = this.#deps;
    const { tokens, isNew } = await readTokens(random, file);
    if (isNew) log.info({ origin: spec.name, file }, 'made a token for an origin');
    return { spec, source, enrolment: { file, tokens } };
  }

  #checkNew(spec: NewOrigin): void {
    if (this.#entries.has(spec.name)) {
      throw originError('origin_taken', `an origin named ${spec.name} is there already`);
    }
    if (this.#added().length >= ADDED_LIMIT) {
      throw originError('origins_full', `${ADDED_LIMIT} origins were added; no more are taken`);
    }
    const others = [...this.#entries.values()].map((entry) => entry.spec);
    const faults = hostFaults([...others, spec], this.#options.edgeDomain).filter(
      ({ origin }) => origin === spec.name,
    );
    if (faults.length > 0) {
      throw originError(
        'host_refused',
        faults.map(({ index, message }) => `hosts[${index}]: ${message}`).join('; '),
      );
    }
  }

  #checkConfigured(configured: readonly ConfiguredOrigin[], added: readonly Entry[]): void {
    const taken = new Set(added.map(({ spec }) => spec.name));
    const sameName = configured
      .filter(({ name }) => taken.has(name))
      .map(({ name }) => `gateway.origins.${name}: an origin of this name was added by command`);
    const specs = [...added.map(({ spec }) => spec), ...configured];
    const hosts = hostFaults(specs, this.#options.edgeDomain).map(({ origin, index, message }) =>
      taken.has(origin)
        ? `gateway.edgeDomain: got "${this.#options.edgeDomain}": ${message}; ${origin} was added by command`
        : `gateway.origins.${origin}.hosts[${index}]: ${message}`,
    );
    const faults = sameName.length > 0 ? sameName : hosts;
    if (faults.length > 0) throw configError('config_invalid', faults.join('\n'));
  }

  #replace(entries: readonly Entry[]): void {
    this.#entries = byName(entries);
    this.#origins = new Map(entries.map((entry) => [entry.spec.name, originOf(entry)]));
    this.#verifier = new TokenVerifier(sha256, this.tokens());
    for (const listener of this.#listeners) listener();
  }

  #inTurn<Result>(change: () => Promise<Result>): Promise<Result> {
    const result = this.#turn.then(change);
    this.#turn = result.catch(() => undefined);
    return result;
  }
}

const byName = (entries: readonly Entry[]): Map<string, Entry> =>
  new Map(entries.map((entry) => [entry.spec.name, entry]));

function originOf({ spec, source, enrolment }: Entry): Origin {
  return {
    ...spec,
    source,
    isRotating: enrolment?.tokens.next !== undefined,
    tagKey: enrolment && sharedTagKey(enrolment.tokens.current),
  };
}
