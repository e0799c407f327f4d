import type { Clock, Random } from '../base/index.ts';

export interface Finding {
  readonly subject: string;
  /** `bad`: something that people rely on does not work. */
  readonly state: 'good' | 'notable' | 'bad';
  readonly finding: string;
  /** What to do about it. */
  readonly advice?: string;
}

export interface DoctorDeps {
  readonly clock: Clock;
  readonly random: Random;
}
