/** HTTP servers for APIs. What the gateway's data plane speaks is its own. */
export {
  type ApiServer,
  type ApiServerOptions,
  createApiServer,
  listen,
} from './api-server.ts';
