import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { difference, firstVersion, transition, type VersionEvent, type VmVersions } from './vm-versions.ts';

const digest = (digit: string) => `sha256:${digit.repeat(64)}`;
const wanted = (imageRef: string, ownerNote = '') => ({
  imageRef,
  configuration: { cpus: 1, memoryBytes: 2 ** 27, diskBytes: 0 },
  ownerNote,
});
const wish = (imageRef: string, ownerNote = ''): VersionEvent => ({
  kind: 'wished',
  wanted: wanted(imageRef, ownerNote),
});
const back: VersionEvent = { kind: 'rolled_back' };
const answered = (version: number): VersionEvent => ({ kind: 'answered', version });
const failed = (version: number): VersionEvent => ({ kind: 'failed', version });
const pinned = (version: number): VersionEvent => ({
  kind: 'pinned',
  version,
  imageDigest: digest(String(version)),
});
const run = (...events: VersionEvent[]) => events.reduce(transition, firstVersion(wanted('one')));
const refs = ({ current, next, previous }: VmVersions) => [
  current.imageRef,
  next?.imageRef,
  previous?.imageRef,
];

describe('the versions of a VM', () => {
  it('have a next one beside the current until it is ready, and the old one as the previous then', () => {
    const underway = run(pinned(1), wish('two'));
    expect(refs(underway)).toEqual(['one', 'two', undefined]);
    const changed = transition(underway, answered(2));
    expect(refs(changed)).toEqual(['two', undefined, 'one']);
    expect(changed.current.version).toBe(2);
  });

  it('go on with the current when the next fails', () => {
    expect(refs(run(pinned(1), wish('two'), failed(2)))).toEqual(['one', undefined, undefined]);
  });

  it('go back to the previous one as to a new version, by its digest, and forth again', () => {
    const back1 = run(pinned(1), wish('two'), pinned(2), answered(2), back);
    expect(back1.next).toMatchObject({ version: 3, imageRef: 'one', imageDigest: digest('1') });
    const there = transition(back1, answered(3));
    expect(refs(there)).toEqual(['one', undefined, 'two']);
    expect(refs(transition(transition(there, back), answered(4)))).toEqual(['two', undefined, 'one']);
  });

  it('stay as they are when there is nothing to go back to', () => {
    const versions = run(pinned(1));
    expect(transition(versions, back)).toBe(versions);
  });

  it.for([
    ['going back', back],
    ['the wish for the current one', wish('one')],
  ] as const)('call a change off by %s', ([, event]) => {
    expect(refs(run(pinned(1), wish('two'), event))).toEqual(['one', undefined, undefined]);
  });

  it('take the newest wish, and the same wish once', () => {
    const two = run(wish('two'));
    expect(transition(two, wish('two'))).toBe(two);
    expect(transition(two, wish('three')).next).toMatchObject({ version: 3, imageRef: 'three' });
    // The one whose place was taken comes too late.
    const three = transition(two, wish('three'));
    expect(transition(three, answered(2))).toBe(three);
    expect(transition(three, failed(2))).toBe(three);
  });

  it('change the note of the current one without a new version, that of a new one with it', () => {
    expect(run(wish('one', 'note'))).toMatchObject({ current: { version: 1, ownerNote: 'note' }, latest: 1 });
    const underway = run(wish('two', 'new'));
    expect(underway).toMatchObject({ current: { ownerNote: '' }, next: { ownerNote: 'new' } });
  });

  it('do not go back to what was never fetched, nor to what was withdrawn', () => {
    expect(run(wish('two'), answered(2)).previous).toBeUndefined();
    const withdrawn: VersionEvent = { kind: 'withdrawn', imageDigest: digest('1') };
    expect(run(pinned(1), wish('two'), answered(2), withdrawn).previous).toBeUndefined();
  });

  it('differ by image, digest where one is named, and configuration', () => {
    const version = { ...wanted('one'), imageDigest: digest('1') };
    expect(difference(version, wanted('one'))).toBeUndefined();
    expect(difference(version, wanted('two'))).toBe('image');
    expect(difference(version, { ...wanted('one'), imageDigest: digest('2') })).toBe('image digest');
    const larger = { ...wanted('one'), configuration: { cpus: 2, memoryBytes: 2 ** 27, diskBytes: 0 } };
    expect(difference(version, larger)).toBe('configuration');
  });

  it('never give a number twice, and always have one current, whatever happens', () => {
    const number = fc.integer({ min: 1, max: 12 });
    const event: fc.Arbitrary<VersionEvent> = fc.oneof(
      fc.constantFrom('one', 'two', 'three').map((ref) => wish(ref)),
      fc.constant(back),
      number.map(answered),
      number.map(failed),
      number.map(pinned),
    );
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), (events) => {
        let versions = firstVersion(wanted('one'));
        for (const next of events) {
          const before = versions;
          versions = transition(versions, next);
          const numbers = [versions.current, versions.next, versions.previous].flatMap(
            (v) => v?.version ?? [],
          );
          expect(new Set(numbers).size).toBe(numbers.length);
          expect(Math.max(...numbers)).toBeLessThanOrEqual(versions.latest);
          // Only the answer of the next one changes who serves.
          if (versions.current.version !== before.current.version) {
            expect(next).toEqual(answered(before.next?.version ?? 0));
          }
        }
      }),
    );
  });
});
