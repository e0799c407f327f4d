import { once } from 'node:events';
import { createServer } from 'node:net';

/** Ports that `orilla` takes when nobody says otherwise, and that of the demo's origin. */
const DEFAULT_PORTS = [8080, 8081, 8088, 9000];

/** A `--port-offset` with which all of them are free at this moment. */
export async function freePortOffset(): Promise<number> {
  // Below the range from which the kernel takes ports for port 0 (ip_local_port_range begins at 32768).
  for (let offset = 10_000 + (process.pid % 1000) * 10; offset < 23_000; offset += 17) {
    const areFree = await Promise.all(DEFAULT_PORTS.map((port) => isFree(port + offset)));
    if (areFree.every(Boolean)) return offset;
  }
  throw new Error('no port offset is free');
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port);
    await once(server, 'listening');
    return true;
  } catch {
    return false;
  } finally {
    server.close();
  }
}
