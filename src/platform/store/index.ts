/** Where a process keeps what must not be lost. */
export { type Migration, openStore, type Store, storeError } from './store.ts';
