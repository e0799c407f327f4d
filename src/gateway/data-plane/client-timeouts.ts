/** How long clients are waited for, whichever version of HTTP they speak. */

/** A connection that nobody uses is ended after this long. */
export const IDLE_TIMEOUT_MS = 60_000;
/** A head has to be whole this long after its first octet, however it drips in. */
export const HEAD_TIMEOUT_MS = 15_000;
/** Of a body that is awaited so much has to come in so long. */
export const BODY_WINDOW_MS = 30_000;
export const BODY_WINDOW_BYTES = 1024;
/** A client that takes nothing of its answer for so long has gone away without saying so. */
export const WRITE_TIMEOUT_MS = 60_000;
/** What a refused client still sends is read over for so long, so that it sees the answer before the connection ends. */
export const LINGER_MS = 1000;
