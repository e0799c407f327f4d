/**
 * The tokens of one origin, in files of mode 0600: `<file>` holds the one that is used, and, while they are being changed,
 * `<file>.next` the one that will be. That the second file is there is all the state that a rotation has.
 * @module
 */
import type { Random } from '../../base/index.ts';
import { moveSecret, readOrMakeToken, readToken, removeSecret, replaceToken } from '../secret-file.ts';
import { originError } from './errors.ts';
import type { RotationStep } from './schema.ts';

export interface OriginTokens {
  /** Signs the tags. */
  readonly current: string;
  /** Accepted beside the other; signs once the rotation is finished. */
  readonly next?: string | undefined;
}

const nextFile = (file: string): string => `${file}.next`;

/** What is there; a first token is made where there is none. @throws `secret_file_unusable` */
export async function readTokens(
  random: Random,
  file: string,
): Promise<{ tokens: OriginTokens; isNew: boolean }> {
  const { token, isNew } = await readOrMakeToken(random, file);
  return { tokens: { current: token, next: await readToken(nextFile(file)) }, isNew };
}

/**
 * One step of a rotation. Returns the tokens that hold from now on, and the one that was made.
 *
 * @throws `rotation_under_way`, `rotation_not_begun`, `secret_file_unusable`
 */
export async function rotateTokens(
  random: Random,
  file: string,
  { current, next }: OriginTokens,
  step: RotationStep,
): Promise<{ tokens: OriginTokens; made?: string }> {
  switch (step) {
    case 'begin': {
      if (next !== undefined) {
        throw originError(
          'rotation_under_way',
          'a new token was made already and is accepted; retire the old one with --finish, or replace both with --now',
        );
      }
      const made = await replaceToken(random, nextFile(file));
      return { tokens: { current, next: made }, made };
    }
    case 'finish':
      if (next === undefined) {
        throw originError('rotation_not_begun', 'no new token was made yet; begin without --finish');
      }
      await moveSecret(nextFile(file), file);
      return { tokens: { current: next } };
    case 'now': {
      await removeSecret(nextFile(file));
      const made = await replaceToken(random, file);
      return { tokens: { current: made }, made };
    }
  }
}

/** A first token, whatever an earlier origin of this name has left. @throws `secret_file_unusable` */
export async function makeTokens(random: Random, file: string): Promise<OriginTokens> {
  await removeSecret(nextFile(file));
  return { current: await replaceToken(random, file) };
}

/** @throws `secret_file_unusable` */
export async function removeTokens(file: string): Promise<void> {
  await removeSecret(nextFile(file));
  await removeSecret(file);
}
