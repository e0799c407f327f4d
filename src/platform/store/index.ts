/** Where a process keeps what must not be lost. */
export { type Migration, openStore, type Store } from './store.ts';
