/**
 * Opens connections and leaves them alone, in a process of its own: its file descriptors are not those of the test.
 *
 *     node idle-clients.ts PORT COUNT      prints "open COUNT" when all are open; ends when one of them is
 *                                      closed, or with its standard input
 *
 * @module
 */
import { connect } from 'node:net';

/** So many are opened at a time, from one address: fewer than a server's backlog, and than one client may have. */
const BATCH = 200;

const [port, count] = process.argv.slice(2).map(Number);

process.stdin.resume().once('end', () => process.exit());

for (let opened = 0; opened < (count ?? 0); opened += BATCH) {
  const batch = Array.from(
    { length: Math.min(BATCH, (count ?? 0) - opened) },
    () =>
      new Promise<void>((resolve, reject) => {
        const localAddress = `127.0.${1 + opened / BATCH}.1`;
        const socket = connect({ port: port ?? 0, host: '127.0.0.1', localAddress }, resolve);
        socket.once('error', reject);
        // One that the server closes is enough to know that it is closing.
        socket.once('close', () => process.exit());
      }),
  );
  await Promise.all(batch);
}
console.log(`open ${count}`);
