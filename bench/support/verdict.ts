import { ANSWERED_BY } from './counted-origin.ts';
import type { Site } from './site.ts';
import type { Seen } from './visitor.ts';

/** Who answered, told by what only he can know: the origin by its own mark, the VM by a right answer without it. */
export type Answerer = 'origin' | 'vm' | 'nobody';

/**
 * How a request went, as its visitor sees it:
 *
 * - `served`: status 200, whole, and the octets that were to come
 * - `replayable`: failed, though it could have been sent to another server without harm: it may be repeated, and of an
 *   answer by a server nothing had come
 * - `form`: failed, and may not be repeated: the form may have been taken
 * - `cut`: began well and broke off
 * - `wrong`: whole, and not what was to come
 */
export type Verdict = 'served' | 'replayable' | 'form' | 'cut' | 'wrong';

export const VERDICTS: readonly Verdict[] = ['served', 'replayable', 'form', 'cut', 'wrong'];

export function judge(site: Pick<Site, 'sha256'>, seen: Seen): Verdict {
  const { asked, status, isWhole, receivedBytes } = seen;
  if (status === 200 && isWhole) return isRight(site, seen) ? 'served' : 'wrong';
  if (asked.method === 'POST') return 'form';
  // Some of a head, or of the body after a good head. Another status is a gateway's word, not the site's.
  const hasBegun = status === undefined ? receivedBytes > 0 : status === 200;
  return hasBegun ? 'cut' : 'replayable';
}

function isRight(site: Pick<Site, 'sha256'>, { asked, bodyBytes, bodySha256 }: Seen): boolean {
  if (asked.method === 'HEAD') return bodyBytes === 0;
  // A form's answer says which machine took it, and for how long it has been up.
  return asked.method === 'POST' ? bodyBytes > 0 : bodySha256 === site.sha256(asked.path);
}

export function answerer(site: Pick<Site, 'sha256'>, seen: Seen): Answerer {
  if (seen.headers[ANSWERED_BY] === 'origin') return 'origin';
  return judge(site, seen) === 'served' ? 'vm' : 'nobody';
}
