import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

interface LockedPackage {
  readonly version?: string;
  readonly resolved?: string;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const file = join(import.meta.dirname, '..', 'package-lock.json');
const { packages } = JSON.parse(readFileSync(file, 'utf8')) as { packages: Record<string, LockedPackage> };

test('the lock file names every platform’s optional packages, without which "npm ci" refuses it', () => {
  const missing = Object.entries(packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies)
      .filter((name) => !placesOf(path, name).some((place) => packages[place]))
      .map((name) => `${path} → ${name}`),
  );
  expect(missing).toEqual([]);
  expect(Object.keys(packages).length).toBeGreaterThan(50);
});

test('the lock file holds no download addresses, so that any registry serves it', () => {
  expect(Object.keys(packages).filter((path) => packages[path]?.resolved !== undefined)).toEqual([]);
});

/** Where Node looks for a package that is asked for at `path`: in it, beside it, and above. */
function placesOf(path: string, name: string): string[] {
  const places = [`${path}/node_modules/${name}`];
  for (let at = path; at !== ''; ) {
    at = at.slice(0, Math.max(0, at.lastIndexOf('node_modules/') - 1));
    places.push(`${at === '' ? '' : `${at}/`}node_modules/${name}`);
  }
  return path === '' ? [`node_modules/${name}`] : places;
}
