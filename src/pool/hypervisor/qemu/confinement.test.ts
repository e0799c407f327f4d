import { describe, expect, test } from 'vitest';
import { confinedCommand } from './confinement.ts';
import { machineLink } from './machine-link.ts';

describe('a confined command', () => {
  const confine = (command: readonly string[], needsKvm = false) =>
    confinedCommand({ link: machineLink(7), port: 8000, hostPid: 4711, needsKvm }, command);

  test('stands behind the launcher as arguments of its own, whatever is in it', () => {
    const hostile = ['qemu', '-append', '\'; reboot; $(reboot) `reboot` \n"', ''];
    const [program, args] = confine(hostile);
    expect(program).toBe('unshare');
    expect(args.slice(-hostile.length)).toEqual(hostile);
    expect(args.slice(0, -hostile.length).join()).not.toContain('reboot');
  });

  test('gets the device of KVM where it needs it only', () => {
    expect(confine(['qemu'], true)[1].join('\n')).toContain('mount --bind /dev/net/kvm /dev/kvm');
    expect(confine(['qemu'])[1].join('\n')).not.toContain('kvm');
  });
});
