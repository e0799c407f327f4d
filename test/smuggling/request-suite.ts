import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type PlaneSite, type StartPlane, startPlaneSite } from '../support/plane-site.ts';
import { RawConnection } from '../support/raw-connection.ts';
import { type ReceivedRequest, RecordingOrigin } from '../support/recording-origin.ts';
import { readTranscript } from '../support/transcript.ts';
import { REQUEST_CORPUS } from './corpus.ts';
import { deviations, type Observed } from './judge.ts';
import { head, type RequestCase, seen, type Verdict } from './request-case.ts';

/** Sent behind each case on the same connection: it must be read as itself, or not at all. */
const PROBE = head('GET /probe HTTP/1.1', 'Connection: close');

/** Longer cases are not worth a turn of the event loop for each octet. */
const OCTET_BY_OCTET_LIMIT = 400;

const SPLITS: Readonly<Record<string, (octets: string) => readonly string[]>> = {
  'in one piece': (octets) => [octets],
  // Every line end falls between two pieces.
  'with every CR and LF apart': (octets) =>
    octets.length > 100_000 ? [octets] : octets.split(/(?<=\r)(?=\n)|(?<=\n)/),
  'octet by octet': (octets) => (octets.length > OCTET_BY_OCTET_LIMIT ? [octets] : octets.split('')),
};

type Seen = Pick<Observed, 'requests' | 'faults'> & { readonly received: string };

/** What is known of a data plane that is built on somebody else's parser. */
export interface ForeignParser {
  /** Names of the cases and titles of the tests that it gets wrong, with the reason. They are left out. */
  readonly faults: Readonly<Record<string, string>>;
}

/**
 * What a data plane makes of the corpus of requests, however it is split on its way.
 *
 * @param foreign for a plane whose parser is not our own: it may go the second safe way where the corpus knows one, may work
 *   on pipelined requests at the same time, and need not forgive what is sent behind the last request.
 */
export function describeRequestSmuggling(name: string, start: StartPlane, foreign?: ForeignParser): void {
  describe(`${name} and requests that try to be two`, () => {
    let origin: RecordingOrigin;
    let site: PlaneSite;
    beforeAll(async () => {
      origin = await RecordingOrigin.start();
      site = await startPlaneSite(start, origin.port);
    });
    afterAll(async () => {
      await site[Symbol.asyncDispose]();
      await origin[Symbol.asyncDispose]();
    });

    const cases = REQUEST_CORPUS.filter((each) => foreign?.faults[each.name] === undefined);
    it.for(cases)('$verdict.kind: $name', async (each) => {
      for (const [how, split] of Object.entries(SPLITS)) {
        const observed = await observe(each, split);
        const found = deviationsOf(each, observed);
        expect(found, `${how}: ${JSON.stringify(each.octets.slice(0, 400))}`).toEqual([]);
      }
    });

    it('has been given a corpus worth its name', () => {
      expect(REQUEST_CORPUS.length).toBeGreaterThan(150);
      expect(new Set(REQUEST_CORPUS.map((each) => each.name)).size).toBe(REQUEST_CORPUS.length);
    });

    /** Whether the probe is sent. */
    const hasProbe = ({ isCut, verdict }: RequestCase): boolean =>
      !isCut && !(foreign && verdict.kind === 'forwarded' && verdict.isLast);

    async function observe(each: RequestCase, split: (octets: string) => readonly string[]): Promise<Seen> {
      using client = await RawConnection.open(site.port);
      await client.send(...split(hasProbe(each) ? each.octets + PROBE : each.octets));
      if (each.isCut) client.end();
      await client.untilEnd();
      await origin.untilNothingPartial();
      return {
        requests: origin.requests.splice(0),
        faults: origin.faults.splice(0),
        received: client.received,
      };
    }

    function deviationsOf(each: RequestCase, { requests, faults, received }: Seen): string[] {
      const { verdict, alsoSafe } = each;
      const probe = hasProbe(each) ? seen({ target: '/probe' }) : undefined;
      const judge = (by: Verdict) => {
        const inOrder = foreign ? inOrderOf(by, requests) : requests;
        const methods = inOrder.map(({ method }) => method);
        const transcript = readTranscript(received, methods, true);
        return deviations(by, { requests: inOrder, faults, transcript }, probe);
      };
      const found = judge(verdict);
      return found.length > 0 && foreign && alsoSafe && judge(alsoSafe).length === 0 ? [] : found;
    }
  });
}

/** Puts what came in any order into the order of what was sent; what was not expected stays at the end. */
function inOrderOf(verdict: Verdict, received: readonly ReceivedRequest[]): ReceivedRequest[] {
  const sent = verdict.kind === 'forwarded' ? verdict.requests : [];
  const rank = ({ method, target }: ReceivedRequest) => {
    const index = sent.findIndex((each) => each.method === method && each.target === target);
    return index < 0 ? sent.length : index;
  };
  return received.toSorted((a, b) => rank(a) - rank(b));
}
