import { readFile } from 'node:fs/promises';
import { z } from 'zod';

/** What apt's lists say of one version of a package: enough to fetch it and to check what came. */
const packageRecordSchema = z.object({
  name: z.string().regex(/^[a-z0-9][a-z0-9+.-]+$/),
  version: z.string().regex(/^[A-Za-z0-9.+:~-]+$/),
  architecture: z.string().regex(/^[a-z0-9-]+$/),
  /** Names of the packages that it depends on, versions and alternatives left out. */
  depends: z.array(z.string()),
  sizeBytes: z.int().min(1),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});
export type PackageRecord = z.infer<typeof packageRecordSchema>;

/** One stanza of apt's lists (deb-control(5)): `Field: value`, continued by lines that begin with a space. */
export function parseRecord(text: string) {
  const fields = new Map<string, string>();
  for (const line of (text.split('\n\n')[0] ?? '').split('\n')) {
    const match = /^([A-Za-z0-9-]+): (.*)$/.exec(line);
    if (match?.[1] && match[2] !== undefined) fields.set(match[1], match[2]);
  }
  return packageRecordSchema.safeParse({
    name: fields.get('Package'),
    version: fields.get('Version'),
    architecture: fields.get('Architecture'),
    depends: (fields.get('Depends') ?? '')
      .split(/[,|]/)
      .flatMap((item) => item.trim().split(/[\s(:]/)[0] || []),
    sizeBytes: Number(fields.get('Size')),
    sha256: fields.get('SHA256'),
  });
}

/** A record that was kept as JSON; `undefined` when there is none that can be read. */
export async function readRecord(path: string): Promise<PackageRecord | undefined> {
  const text = await readFile(path, 'utf8').catch(() => undefined);
  try {
    return text === undefined ? undefined : packageRecordSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
