/**
 * How a guest sees its network: the same in every machine, whatever the host's side is, so that a machine can be made from
 * the memory of another. Addresses as in QEMU's user-mode network (QEMU, "Using the user mode network stack").
 */
export const GUEST_NETWORK = {
  address: '10.0.2.15',
  gateway: '10.0.2.2',
  prefixBits: 24,
  /** QEMU's own choice for a first card. */
  hardwareAddress: '52:54:00:12:34:56',
  gatewayHardwareAddress: '52:55:0a:00:02:02',
} as const;
