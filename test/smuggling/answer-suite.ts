import type { Socket } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type PlaneSite, type StartPlane, startPlaneSite } from '../support/plane-site.ts';
import { RawConnection } from '../support/raw-connection.ts';
import { answerTarget, RecordingOrigin } from '../support/recording-origin.ts';
import { statusOf, valuesOf } from '../support/strict-http.ts';
import { readTranscript, type Transcript } from '../support/transcript.ts';
import { type AnswerCase, type AnswerVerdict, ok } from './answer-case.ts';
import { ANSWER_CORPUS } from './answer-cases.ts';
import { head } from './request-case.ts';
import type { ForeignParser } from './request-suite.ts';

/** Longer answers are not worth a turn of the event loop for each octet. */
const OCTET_BY_OCTET_LIMIT = 400;

const SPLITS: Readonly<Record<string, (octets: string) => readonly string[]>> = {
  'in one piece': (octets) => [octets],
  'octet by octet': (octets) => (octets.length > OCTET_BY_OCTET_LIMIT ? [octets] : octets.split('')),
};

/** What a data plane makes of the corpus of answers: its client gets one answer, and the next request gets its own. */
export function describeAnswerSmuggling(name: string, start: StartPlane, foreign?: ForeignParser): void {
  describe(`${name} and answers that try to be two`, () => {
    let origin: RecordingOrigin;
    let site: PlaneSite;
    let asked = 0;
    beforeAll(async () => {
      origin = await RecordingOrigin.start();
      site = await startPlaneSite(start, origin.port);
    });
    beforeEach(() => {
      origin.answer = answerTarget;
      origin.requests.length = 0;
    });
    afterAll(async () => {
      await site[Symbol.asyncDispose]();
      await origin[Symbol.asyncDispose]();
    });

    const test = (title: string, run: () => Promise<void>) =>
      it.skipIf(foreign?.faults[title] !== undefined)(title, run);

    const cases = ANSWER_CORPUS.filter((each) => foreign?.faults[each.name] === undefined);
    it.for(cases)('$verdict.kind: $name', async (each) => {
      for (const [how, split] of Object.entries(SPLITS)) {
        const found = await deviationsOf(each, split);
        expect(found, `${how}: ${JSON.stringify(each.octets.slice(0, 400))}`).toEqual([]);
      }
    });

    test('closes a connection on which an origin speaks unasked', async () => {
      const sockets: Socket[] = [];
      origin.answer = (request, socket) => {
        sockets.push(socket);
        answerTarget(request, socket);
      };
      using client = await RawConnection.open(site.port);
      await client.send(head('GET /first HTTP/1.1'));
      await client.until(() => answersOf(client, 'GET').answers.length === 1);
      sockets[0]?.write(ok(['Content-Length: 6'], 'forged'));
      await origin.until(() => !origin.isOpen(origin.requests[0]?.connection));
      expect(await nextBody(client, 'GET')).toBe(`GET /next-${asked}\n`);
    });

    test('gives the next request its own answer when an origin answers what it was not asked yet', async () => {
      const greeted: number[] = [];
      origin.greet = (socket, connection) => {
        greeted.push(connection);
        socket.write(ok(['Content-Length: 6'], 'forged'));
      };
      using first = await RawConnection.open(site.port);
      // What may not be sent twice goes over a connection of its own, which this origin then greets.
      await first.send(head('POST /first HTTP/1.1', 'Content-Length: 0', 'Connection: close'));
      await first.untilEnd();
      origin.greet = undefined;
      await origin.until(() => !greeted.some((connection) => origin.isOpen(connection)));
      using second = await RawConnection.open(site.port);
      expect(await nextBody(second)).toBe(`GET /next-${asked}\n`);
    });

    test('passes an answer on that comes before the body was read, and reuses neither connection for the rest', async () => {
      const half = 'x'.repeat(100_000);
      origin.onPartial = (socket) => {
        origin.onPartial = undefined;
        socket.write(ok(['Content-Length: 5']));
      };
      using client = await RawConnection.open(site.port);
      await client.send(head('POST /upload HTTP/1.1', 'Content-Length: 200000'), half);
      await client.until(() => client.hasEnded || answersOf(client, 'POST').answers.length === 1);
      expect(answersOf(client, 'POST').answers.map(({ body }) => body)).toEqual(['hello']);
      await client.send(half, head('GET /behind HTTP/1.1', 'Connection: close'));
      await client.untilEnd();
      await origin.untilNothingPartial();
      // The request behind it is served as itself, or not at all.
      const got = origin.requests.map(({ target }) => target).filter((target) => target !== '/upload');
      expect([[], ['/behind']]).toContainEqual(got);
      expect(answersOf(client, 'POST', 'GET').answers.slice(1)).toHaveLength(got.length);
      expect(origin.faults).toEqual([]);
    });

    async function deviationsOf(
      each: AnswerCase,
      split: (octets: string) => readonly string[],
    ): Promise<string[]> {
      let connection: number | undefined;
      origin.answer = (request, socket) => {
        if (request.target !== '/case') {
          answerTarget(request, socket);
          return;
        }
        connection = request.connection;
        void sendApart(socket, split(each.octets), each.isLast);
      };
      using client = await RawConnection.open(site.port);
      await client.send(head(`${each.method} /case HTTP/1.1`));
      await client.until(() => client.hasEnded || isSettled(answersOf(client, each.method)));

      const transcript = answersOf(client, each.method);
      const strict = judge(each.verdict, transcript);
      const isSafe = foreign && each.alsoSafe && judge(each.alsoSafe, transcript).length === 0;
      const verdict = strict.length > 0 && isSafe ? each.alsoSafe : each.verdict;
      const found = judge(verdict, transcript);
      const isReusable = verdict.kind === 'passed' && verdict.isReusable;
      if (!isReusable) await origin.until(() => !origin.isOpen(connection));

      if (transcript.answers.some(saysClose)) await client.untilEnd();
      using other = client.hasEnded ? await RawConnection.open(site.port) : undefined;
      const body = other ? await nextBody(other) : await nextBody(client, each.method);
      if (body !== `GET /next-${asked}\n`) found.push(`the next request got ${JSON.stringify(body)}`);
      if (client.received.includes('forged')) found.push('the client got what was forged');
      const next = origin.requests.splice(0).filter(({ target }) => target === `/next-${asked}`);
      if (next.length !== 1) found.push(`the next request was sent ${next.length} times`);
      if (!isReusable && next[0]?.connection === connection) found.push('the connection was used again');
      return [...found, ...origin.faults.splice(0)];
    }

    /** What the next request gets, behind those by `methods` on the same connection. */
    async function nextBody(
      client: RawConnection,
      ...methods: readonly string[]
    ): Promise<string | undefined> {
      asked += 1;
      await client.send(head(`GET /next-${asked} HTTP/1.1`, 'Connection: close'));
      await client.untilEnd();
      const { answers, fault } = answersOf(client, ...methods, 'GET');
      return fault ?? answers[methods.length]?.body;
    }
  });
}

const answersOf = (client: RawConnection, ...methods: readonly string[]): Transcript =>
  readTranscript(client.received, methods, client.hasEnded);

/** Nothing more can change what the first answer is. */
const isSettled = ({ answers, fault }: Transcript): boolean => answers.length > 0 || fault !== undefined;

const saysClose = (answer: Transcript['answers'][number]): boolean =>
  valuesOf(answer.fields, 'connection').some((value) => value.toLowerCase() === 'close');

async function sendApart(socket: Socket, pieces: readonly string[], isLast: boolean): Promise<void> {
  for (const [index, piece] of pieces.entries()) {
    if (index > 0) await new Promise((resolve) => setImmediate(resolve));
    if (socket.destroyed) return;
    socket.write(piece, 'latin1');
  }
  if (isLast) socket.end();
}

/** What differs from the verdict, in words. */
function judge(verdict: AnswerVerdict, { answers, fault, rest }: Transcript): string[] {
  const [answer] = answers;
  if (verdict.kind === 'failed') {
    // Octets of an answer that broke off are no answer.
    return answers.some((each) => statusOf(each) !== 502) ? [`it was passed on as ${answer?.startLine}`] : [];
  }
  if (fault !== undefined)
    return [`the client could not read ${fault} in ${JSON.stringify(rest.slice(0, 300))}`];
  if (!answer) return ['it was not passed on'];
  return [
    ...(statusOf(answer) === verdict.status ? [] : [`the client got ${answer.startLine}`]),
    ...(answer.body === verdict.body
      ? []
      : [`the client got the body ${JSON.stringify(answer.body.slice(0, 200))}`]),
    ...verdict.hasNot
      .filter((name) => valuesOf(answer.fields, name).length > 0)
      .map((name) => `${name} was passed on`),
  ];
}
