import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type PlaneSite, type StartPlane, startPlaneSite } from '../support/plane-site.ts';
import { RawConnection } from '../support/raw-connection.ts';
import { type ReceivedRequest, RecordingOrigin } from '../support/recording-origin.ts';
import { type ReferenceRequest, ReferenceServer } from '../support/reference-server.ts';
import { valuesOf } from '../support/strict-http.ts';
import { untilQuiet } from '../support/until-quiet.ts';
import { REQUEST_CORPUS } from './corpus.ts';
import { assembled, mutated } from './mutations.ts';
import { head } from './request-case.ts';

/** The same in every run. */
const SEED = 20_261_121;
/** Larger cases are about limits, and slow. */
const SIZE_LIMIT_OCTETS = 2000;
/** A gateway that has done nothing for so many turns of the event loop waits for more. */
const QUIET_TURNS = 12;

const PROBE = head('GET /probe HTTP/1.1', 'Connection: close');
const SMALL = REQUEST_CORPUS.map(({ octets }) => octets).filter(({ length }) => length <= SIZE_LIMIT_OCTETS);

/** A request, as both sides must agree on it. */
interface Read {
  readonly method: string;
  readonly target: string;
  readonly host: string;
  readonly body: string;
}

/**
 * Holds a data plane against `node:http`: what reaches the origin must be what Node reads in the same octets, or less of it.
 * Less is no fault: the gateway may refuse what Node takes.
 */
export function describeDifference(name: string, start: StartPlane): void {
  describe(`${name} beside node:http`, () => {
    let origin: RecordingOrigin;
    let reference: ReferenceServer;
    let site: PlaneSite;
    let fence: RawConnection;
    let fences = 0;
    let accepted = 0;
    beforeAll(async () => {
      origin = await RecordingOrigin.start();
      reference = await ReferenceServer.start();
      site = await startPlaneSite(start, origin.port);
      fence = await RawConnection.open(site.port);
    });
    afterAll(async () => {
      fence[Symbol.dispose]();
      await site[Symbol.asyncDispose]();
      await reference[Symbol.asyncDispose]();
      await origin[Symbol.asyncDispose]();
    });

    it('takes nothing of the corpus that Node would not take', { timeout: 120_000 }, async () => {
      const found: string[] = [];
      for (const octets of SMALL) found.push(...(await differences(octets)));
      expect(found).toEqual([]);
    });

    it('takes nothing of 2,000 faulty copies of it that Node would not take', {
      timeout: 120_000,
    }, async () => {
      await fc.assert(fc.asyncProperty(mutated(SMALL), isNoDifference), { seed: SEED, numRuns: 2000 });
    });

    it('takes nothing of 1,000 heads put together by chance that Node would not take', {
      timeout: 120_000,
    }, async () => {
      await fc.assert(fc.asyncProperty(assembled, isNoDifference), { seed: SEED, numRuns: 1000 });
    });

    it('has taken enough to say so', () => {
      expect(accepted).toBeGreaterThan(300);
    });

    async function isNoDifference(octets: string): Promise<void> {
      expect(await differences(octets)).toEqual([]);
    }

    /** What the gateway passed on and Node did not read, in words. */
    async function differences(octets: string): Promise<string[]> {
      const sent = octets + PROBE;
      const byNode = await reference.read(sent);
      const left = byNode.map(asForwarded);
      const byGateway = await passOn(sent);
      accepted += byGateway.length;
      const found = origin.faults.splice(0);
      for (const { fields, method, target, body } of byGateway) {
        const read: Read = { method, target, host: valuesOf(fields, 'host')[0] ?? '', body };
        const index = left.findIndex((each) => isSame(each, read));
        if (index >= 0) left.splice(index, 1);
        else if (byNode.at(-1)?.isUpgrade) break;
        else found.push(`${JSON.stringify(read)} is not among ${JSON.stringify(byNode)}`);
      }
      return found.map((what) => `${what} of ${JSON.stringify(sent)}`);
    }

    /** What the gateway makes of it at the origin. */
    async function passOn(octets: string): Promise<ReceivedRequest[]> {
      using client = await RawConnection.open(site.port);
      await client.send(octets);
      await untilQuiet(
        () => client.hasEnded || `${client.received.length} ${origin.requests.length}`,
        QUIET_TURNS,
      );
      client[Symbol.dispose]();
      // Whatever was on its way before this request is at the origin when this one is answered.
      fences += 1;
      const answered = `GET /fence-${fences}\n`;
      await fence.send(head(`GET /fence-${fences} HTTP/1.1`));
      await fence.until(() => fence.received.endsWith(answered));
      await origin.untilNothingPartial();
      return origin.requests.splice(0).filter(({ target }) => !target.startsWith('/fence-'));
    }
  });
}

const isSame = (a: Read, b: Read): boolean =>
  a.method === b.method && a.target === b.target && a.host === b.host && a.body === b.body;

/** What a gateway makes of what Node has read: a URL becomes a path and a host (RFC 9112 §3.2.2). */
function asForwarded({ method, url, host = '', body }: ReferenceRequest): Read {
  const absolute = /^https?:\/\/([^/?#]*)(.*)$/i.exec(url);
  if (!absolute) return { method, target: url, host, body };
  const [, authority = '', path = ''] = absolute;
  const empty = method === 'OPTIONS' ? '*' : '/';
  return { method, target: path === '' ? empty : path.replace(/^\?/, '/?'), host: authority, body };
}
