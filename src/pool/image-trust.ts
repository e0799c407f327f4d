import { poolError } from './errors.ts';
import type { Accelerator } from './hypervisor/hypervisor.ts';
import type { StoredImage } from './images/image-store.ts';

/**
 * Whether an image may run in software. QEMU promises no isolation under TCG (QEMU, "Security", "Non-virtualization Use
 * Case"), so there it has to be one that the operator brought, unless the operator allows all.
 */
export const mayRunUnderTcg = ({ isTrusted }: StoredImage, allowUntrustedOnTcg: boolean): boolean =>
  isTrusted || allowUntrustedOnTcg;

/** @throws `untrusted_on_tcg` */
export function checkTrust(image: StoredImage, accelerator: Accelerator, allowUntrustedOnTcg: boolean): void {
  if (accelerator === 'kvm' || mayRunUnderTcg(image, allowUntrustedOnTcg)) return;
  throw poolError(
    'untrusted_on_tcg',
    'VMs run in software here (TCG), for which QEMU promises no isolation, and the operator did not bring this image: ' +
      'let the operator import it (orilla image import), use a host with KVM, or set pool.allowUntrustedOnTcg',
  );
}
