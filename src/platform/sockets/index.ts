/** Listening and connecting: what every server's socket has in common. */
export { type Listen, listenError } from './listen.ts';
