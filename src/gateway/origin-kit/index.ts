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
 *
 * @example
 * // Where a VM of yours runs already, and the gateway names it: the application is put into it.
 * new EdgeOffload({
 *   gateways: [{ api: '192.0.2.1:8081', token: process.env.ORILLA_TOKEN }],
 *   application: { applicationRef: 'http://photos.example/photos.tar', digest: 'sha256:…', signature: '…' },
 * });
 * @module
 */
export type { Threshold } from './decision.ts';
export { EdgeOffload, type EdgeOffloadOptions } from './edge-offload.ts';
export type { WantedServer } from './edge-server.ts';
