/**
 * The HTTP gateway at the edge: forwards, tags, and serves from a VM what an origin has moved here.
 * @module
 */
export { ACCESS_LOG_FORMATS } from './data-plane/access-log-line.ts';
export { Gateway, type GatewayDeps, type GatewayOptions } from './gateway.ts';
export { TAG_FORMS, type TagForm } from './tag.ts';
