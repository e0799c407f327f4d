import { z } from 'zod';
import { poolError } from '../errors.ts';
import { labelSchema } from '../schema.ts';
import { isPlainName } from './tar-header.ts';

export const APPLICATION_MANIFEST = 'application.json';
export const APPLICATION_MANIFEST_LIMIT_BYTES = 64 * 1024;

const textSchema = (length: number) =>
  z
    .string()
    .max(length)
    .refine((text) => !text.includes('\0'), 'expected no NUL in it');

/** `application.json`, which heads an application's archive: what it is called and how it serves. */
const applicationManifestSchema = z
  .strictObject({
    format: z.literal('orilla.application/1'),
    name: labelSchema,
    version: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}$/, 'expected 1 to 64 letters, digits and ".+_-"'),
    /** A program and its arguments, in the folder of the application. It serves on the port in `PORT`. */
    run: z.array(textSchema(4096)).min(1).max(64).optional(),
    /** Or a folder whose files are served; "." for all. */
    static: z
      .string()
      .max(255)
      .refine((name) => name === '.' || isPlainName(name), 'expected a folder in the archive')
      .optional(),
    env: z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,63}$/), textSchema(4096)).default({}),
    /** What it may take to end once it is asked to. */
    stopLimitS: z.int().min(1).max(30).default(5),
  })
  .refine(({ run, static: folder }) => (run === undefined) !== (folder === undefined), {
    message: 'expected either "run" or "static"',
  })
  .refine(({ run }) => run === undefined || (run[0] !== '' && !run[0]?.includes('=')), {
    path: ['run', 0],
    message: 'expected a program, without "=" in its name',
  })
  .refine(({ env }) => Object.keys(env).length <= 64, { path: ['env'], message: 'expected 64 at the most' });
export type ApplicationManifest = z.infer<typeof applicationManifestSchema>;

/** @throws `application_invalid` */
export function parseApplicationManifest(octets: Uint8Array): ApplicationManifest {
  const result = applicationManifestSchema.safeParse(parseJson(octets));
  if (result.success) return result.data;
  const faults = result.error.issues.map(({ path, message }) =>
    [path.join('.'), message].filter(Boolean).join(': '),
  );
  throw poolError('application_invalid', `${APPLICATION_MANIFEST}: ${faults.slice(0, 5).join('; ')}`);
}

function parseJson(octets: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(octets)) as unknown;
  } catch (error) {
    throw poolError('application_invalid', `${APPLICATION_MANIFEST} is not JSON`, error);
  }
}
