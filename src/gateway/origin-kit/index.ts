/**
 * `orilla/origin`: what an application provider adds to its own server, so that gateways at the edge can run it.
 *
 * @example
 * import { EdgeOffload } from 'orilla/origin';
 *
 * const offload = new EdgeOffload({
 *   gateways: [{ api: '192.0.2.1:8081', token: process.env.ORILLA_TOKEN }],
 *   vm: { name: 'photos', imageRef: 'http://photos.example/images/photos' },
 *   threshold: { users: 100, withinMs: 60_000 },
 * });
 * app.use(offload.middleware);                       // Express
 * app.addHook('onRequest', offload.onRequest);       // Fastify
 * if (await offload.handle(request, response)) return; // node:http
 * @module
 */
export type { Threshold } from './decision.ts';
export { EdgeOffload, type EdgeOffloadOptions } from './edge-offload.ts';
export type { WantedServer } from './edge-server.ts';
