/** Listening and connecting: what every server's socket has in common, and who may be connected to. */
export { type AddressKind, addressKind } from './address-kind.ts';
export { type Listen, listenError } from './listen.ts';
export { inSubnets, isSubnet } from './subnets.ts';
