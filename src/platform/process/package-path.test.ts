import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { entryPath, findPackage, packagePath } from './package-path.ts';

describe('packagePath', () => {
  test('without segments is the folder whose package.json is ours', () => {
    expect(JSON.parse(readFileSync(join(packagePath(), 'package.json'), 'utf8'))).toMatchObject({
      name: 'orilla',
    });
  });

  test('joins what it is given to that folder', () => {
    expect(packagePath('web', 'status')).toBe(join(packagePath(), 'web', 'status'));
  });
});

describe('entryPath', () => {
  test('names the source when the sources run', () => {
    expect(entryPath('platform/process/package-path')).toBe(
      packagePath('src', 'platform', 'process', 'package-path.ts'),
    );
    expect(existsSync(entryPath('platform/process/package-path'))).toBe(true);
  });
});

describe('findPackage', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'orilla-package-path-'));
    mkdirSync(join(folder, 'node_modules', 'orilla', 'dist', 'platform'), { recursive: true });
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  test('passes over the package.json of somebody else on its way up', () => {
    const ours = join(folder, 'node_modules', 'orilla');
    writeFileSync(join(ours, 'package.json'), '{"name": "orilla"}');
    writeFileSync(join(ours, 'dist', 'package.json'), '{"type": "module"}');
    expect(findPackage(join(ours, 'dist', 'platform'))).toBe(ours);
  });

  test('says that the installation is not whole when there is none', () => {
    expect(() => findPackage(folder)).toThrow(/installation is not whole/);
  });
});
