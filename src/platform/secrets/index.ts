/**
 * What has to lie on a disk and is for nobody's eyes: sealed under a master key.
 *
 * @example
 * const key = await MasterKey.readOrMake(random, '/var/lib/orilla/master.key');
 * await pipeline(memory, (plain) => seal(plain, key, 'memory of photos', random), createWriteStream(path));
 * await pipeline(createReadStream(path), (sealed) => unseal(sealed, key, 'memory of photos'), memory);
 * @module
 */
export { MasterKey } from './master-key.ts';
export { seal, unseal } from './sealed-stream.ts';
