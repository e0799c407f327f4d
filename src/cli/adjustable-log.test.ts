import { expect, it } from 'vitest';
import { createLog } from '../platform/telemetry/index.ts';
import { AdjustableLog } from './adjustable-log.ts';

it('a log whose level is changed leaves out what is below the new one, in its children too', () => {
  const lines: string[] = [];
  const log = new AdjustableLog('info', (level) =>
    createLog(level, { write: (line) => void lines.push(line) }),
  );
  const child = log.child({ vm: 'photos' }).child({ attempt: 2 });
  const written = () => {
    for (const each of [log, child]) {
      each.debug({}, 'debug');
      each.info({}, 'info');
      each.warn({}, 'warn');
      each.error({}, 'error');
    }
    return lines.splice(0).map((line) => JSON.parse(line) as Record<string, unknown>);
  };
  const levels = () => written().map(({ level, vm = '' }) => `${String(level)} ${String(vm)}`.trim());
  expect(levels()).toEqual(['info', 'warn', 'error', 'info photos', 'warn photos', 'error photos']);
  log.setLevel('debug');
  expect(written()).toHaveLength(8);
  log.setLevel('error');
  expect(written()).toMatchObject([{ msg: 'error' }, { msg: 'error', vm: 'photos', attempt: 2 }]);
  log.setLevel('silent');
  expect(written()).toEqual([]);
});
