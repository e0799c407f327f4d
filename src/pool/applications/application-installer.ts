import { type Clock, formatDuration, hasCode, messageOf } from '../../base/index.ts';
import type { Log } from '../../platform/telemetry/index.ts';
import { poolError } from '../errors.ts';
import { commandsOf } from '../guest-commands/guest-programs.ts';
import type { Machine, MachineOrigin } from '../hypervisor/hypervisor.ts';
import { type HttpProbe, untilReady } from '../readiness.ts';
import type { ImageManifest } from '../schema.ts';
import type { StoredApplication } from './application-store.ts';
import { GuestApplications } from './guest-applications.ts';

export interface ApplicationInstallerDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly probe: HttpProbe;
}

/** A machine whose guest answers, and what its image says of it. */
export interface GuestPlace {
  readonly machine: Machine;
  readonly manifest: ImageManifest;
}

/** A guest that answers for the first time since its machine was started or taken over. */
export interface StartedPlace extends GuestPlace {
  /** Absent when it was taken over. */
  readonly origin?: MachineOrigin | undefined;
}

/** Puts applications into guests, and sees that they answer there. */
export class ApplicationInstaller {
  readonly #deps: ApplicationInstallerDeps;
  readonly #readyTimeoutMs: number;

  /** @param readyTimeoutMs what an application may take to its first answer. */
  constructor(deps: ApplicationInstallerDeps, readyTimeoutMs: number) {
    this.#deps = deps;
    this.#readyTimeoutMs = readyTimeoutMs;
  }

  /**
   * Puts it in and waits until it answers, unless it is what was started last.
   *
   * @throws `applications_unsupported`, `application_failed` with its last words, `guest_agent_missing`, …
   */
  async install(place: GuestPlace, application: StoredApplication, signal: AbortSignal): Promise<void> {
    const guest = this.#guestOf(place, signal);
    if ((await guest.running()) === application.digest) return;
    await guest.unpack(application);
    await guest.start(application);
    await this.#untilAnswering(place, application, guest, signal);
    await guest.keep(application.digest);
  }

  /** Puts back what served before: another application, or what the image itself serves. */
  async restore(
    place: GuestPlace,
    before: StoredApplication | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const guest = this.#guestOf(place, signal);
    if (before) {
      // It is still unpacked there, unless the guest lost it.
      await guest.start(before).catch(async (error: unknown) => {
        if (!hasCode(error, 'application_failed')) throw error;
        await guest.unpack(before);
        await guest.start(before);
      });
    } else if ((await guest.running()) !== undefined) {
      await guest.stop();
    }
    await this.#untilAnswering(place, before, guest, signal);
    await guest.keep(before?.digest);
  }

  #guestOf({ machine, manifest }: GuestPlace, signal: AbortSignal): GuestApplications {
    return new GuestApplications(commandsOf(machine), manifest, signal);
  }

  async #untilAnswering(
    { machine, manifest }: GuestPlace,
    application: StoredApplication | undefined,
    guest: GuestApplications,
    signal: AbortSignal,
  ): Promise<void> {
    const { clock, probe, log } = this.#deps;
    const givenUp = new AbortController();
    const timer = clock.after(this.#readyTimeoutMs, () => givenUp.abort());
    const either = AbortSignal.any([signal, givenUp.signal]);
    try {
      await untilReady(clock, probe, machine.addresses[0], manifest.http.readyPath, either);
    } catch (error) {
      if (!givenUp.signal.aborted) throw error;
      const { name, version } = application?.manifest ?? { name: manifest.name, version: '' };
      const words = await guest.lastWords().catch((err: unknown) => {
        log.info({ reason: messageOf(err) }, 'last words of an application not heard');
        return '';
      });
      throw poolError(
        'application_failed',
        `${name} ${version} did not answer at ${manifest.http.readyPath} within ${formatDuration(this.#readyTimeoutMs)}` +
          (words === '' ? '; it wrote nothing' : `; it wrote last: ${words}`),
      );
    } finally {
      timer[Symbol.dispose]();
    }
  }
}
