import { expect, test } from 'vitest';
import { Turns } from './turns.ts';

const signal = new AbortController().signal;

test('so many go on at a time, the others in the order in which they came', async () => {
  const turns = new Turns(2);
  const began: number[] = [];
  const taking = [0, 1, 2, 3].map(async (index) => {
    const turn = await turns.take(signal);
    began.push(index);
    return turn;
  });
  const first = await taking[0];
  await taking[1];
  expect(began).toEqual([0, 1]);
  first?.[Symbol.dispose]();
  // Twice is fine.
  first?.[Symbol.dispose]();
  (await taking[2])?.[Symbol.dispose]();
  await taking[3];
  expect(began).toEqual([0, 1, 2, 3]);
});

test('whoever is called off while he waits takes no turn', async () => {
  const turns = new Turns(1);
  const turn = await turns.take(signal);
  const calledOff = new AbortController();
  const waiting = turns.take(calledOff.signal);
  const behind = turns.take(signal);
  calledOff.abort(new Error('called off'));
  await expect(waiting).rejects.toThrow('called off');
  await expect(turns.take(calledOff.signal)).rejects.toThrow('called off');
  turn[Symbol.dispose]();
  await behind;
});
