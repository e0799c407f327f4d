import { poolError } from './errors.ts';
import type { VersionedVm } from './versioned-vm.ts';

/**
 * No version of these VMs comes back to the image any more.
 *
 * @throws `image_in_use` when one of them is to run from it.
 */
export async function letGoOf(digest: string, vms: readonly VersionedVm[]): Promise<void> {
  for (const { name, versions } of vms) {
    if (![versions.current, versions.next].some((version) => version?.imageDigest === digest)) continue;
    throw poolError('image_in_use', `the VM ${name} runs from it; give that another version, or stop it`);
  }
  for (const vm of vms) {
    if (vm.versions.previous?.imageDigest !== digest) continue;
    await vm.change(() => ({ event: { kind: 'withdrawn', imageDigest: digest } }));
  }
}
