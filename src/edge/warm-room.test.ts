import { expect, test } from 'vitest';
import type { Vm } from '../pool/schema.ts';
import { warmRoomBytes } from './warm-room.ts';

const vm = (memoryBytes: number, more: Partial<Vm> = {}) =>
  ({ phase: 'ready', configuration: { cpus: 1, memoryBytes, diskBytes: 0 }, ...more }) as Vm;
const roomBeside = (...vms: Vm[]) =>
  warmRoomBytes(vms, ({ memoryBytes }) => memoryBytes + 1, { warmBytes: 50, hostBytes: 100 });

test('machines that wait have the memory that no VM takes, up to their limit', () => {
  expect(roomBeside()).toBe(50);
  expect(roomBeside(vm(39))).toBe(50);
  expect(roomBeside(vm(39), vm(39))).toBe(20);
  expect(roomBeside(vm(39), vm(39), vm(39))).toBe(0);
  expect(roomBeside(vm(29, { next: { version: 2, imageRef: 'x', phase: 'starting' } }))).toBe(40);
  expect(roomBeside(vm(99, { phase: 'suspended' }))).toBe(50);
});
