/**
 * Builds the bundled guest images out of Debian packages and the recipes in `guest/`. Needs what each Debian has (apt, dpkg,
 * tar, xz); installs nothing and asks for no privilege.
 *
 * @example
 * const manifest = await buildWebImage(
 *   { random: systemRandom },
 *   {
 *     name: 'photos',
 *     contentDirectory: 'site/',
 *     outputDirectory: 'images/photos',
 *     cacheDirectory: 'orilla-data/cache',
 *     recipeDirectory: packagePath('guest', 'web'),
 *   },
 * );
 * @module
 */
export { buildWebImage, type WebImageOptions } from './web-image.ts';
