import { type Random, randomId } from '../../base/index.ts';

/** With the random part and what is between, as long as a machine's run directory may be called. */
const NAME_LENGTH = 24;

/** An id for a new machine, by which people know whose it is. */
export const newMachineId = (name: string, random: Random): string =>
  `${name.slice(0, NAME_LENGTH)}-${randomId(random, 6)}`;
