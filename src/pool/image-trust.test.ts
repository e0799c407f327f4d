import { describe, expect, test } from 'vitest';
import { checkTrust } from './image-trust.ts';
import type { StoredImage } from './images/image-store.ts';

describe('an image', () => {
  const brought = (isTrusted: boolean) => ({ isTrusted }) as StoredImage;

  test('that an origin brought runs under KVM, and in software only where the operator allows it', () => {
    expect(() => checkTrust(brought(false), 'tcg', false)).toThrow(
      expect.objectContaining({
        code: 'untrusted_on_tcg',
        message: expect.stringMatching(/no isolation.*orilla image import.*KVM.*pool\.allowUntrustedOnTcg/),
      }),
    );
    expect(() => checkTrust(brought(false), 'tcg', true)).not.toThrow();
    expect(() => checkTrust(brought(false), 'kvm', false)).not.toThrow();
  });

  test('that the operator brought runs everywhere', () => {
    expect(() => checkTrust(brought(true), 'tcg', false)).not.toThrow();
    expect(() => checkTrust(brought(true), 'kvm', false)).not.toThrow();
  });
});
