import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  requestSigner,
  type SignedRequest,
  type SigningKey,
  type VerificationRules,
  type VerifyingKey,
  verifyRequest,
} from './http-signature.ts';
import { NonceMemory } from './nonce-memory.ts';

/** A key for tests of everything but the crypto: the signature is a checksum that any change of the base changes. */
const key: SigningKey & { verify(base: Uint8Array, signature: Uint8Array): boolean } = {
  keyId: 'test-key',
  algorithm: 'hmac-sha256',
  sign: (base) => btoa(String.fromCharCode(...checksum(new TextEncoder().encode(base)))),
  verify: (base, signature) => checksum(base).join() === signature.join(),
};
const checksum = (base: Uint8Array): number[] => [
  base.length & 255,
  base.reduce((sum, octet) => (sum * 31 + octet) & 255, 7),
];
const ED25519: VerifyingKey = { ...key, algorithm: 'ed25519' };
const request: SignedRequest = {
  method: 'GET',
  authority: 'photos.example',
  path: '/a/b',
  fields: { 'bng-api-url': '192.0.2.1/version1/virtualmachine' },
};
const times = { createdS: 1000, expiresS: 1060, nonce: 'n1' };
const rules: VerificationRules = {
  keyOf: (keyId) => (keyId === key.keyId ? key : undefined),
  fieldNames: ['bng-api-url'],
  nowS: 1001,
  maxAgeS: 60,
};

function signed(original: SignedRequest = request, change: Partial<SignedRequest> = {}): SignedRequest {
  const { signatureInput, signature } = requestSigner(key, ['bng-api-url'])(original, times);
  const fields = { ...original.fields, 'signature-input': signatureInput, signature, ...change.fields };
  return { ...original, ...change, fields };
}

describe('a signature over a request', () => {
  it('is written as RFC 9421 has it', () => {
    expect(requestSigner(key, ['bng-api-url'])(request, times).signatureInput).toBe(
      'orilla=("@method" "@authority" "@path" "bng-api-url");created=1000;expires=1060;nonce="n1";keyid="test-key";alg="hmac-sha256"',
    );
  });

  it('is believed where nothing has changed, also among others', () => {
    expect(verifyRequest(signed(), rules)).toEqual({
      isValid: true,
      keyId: 'test-key',
      nonce: 'n1',
      expiresS: 1060,
    });
    const { fields } = signed();
    const among = {
      'signature-input': `sig1=("@method");created=1, ${fields['signature-input']}, b=()`,
      signature: `sig1=:AAAA:, ${fields['signature']}`,
    };
    expect(verifyRequest(signed(request, { fields: among }), rules).isValid).toBe(true);
  });

  it.for([
    ['another method', { method: 'POST' }],
    ['another host', { authority: 'bank.example' }],
    ['another path', { path: '/a/c' }],
    ['another tag', { fields: { 'bng-api-url': '198.51.100.1' } }],
    ['no tag', { fields: { 'bng-api-url': undefined } }],
    ['another signature', { fields: { signature: 'orilla=:AAAA:' } }],
  ] as const)('is refused on a request with %s', ([, change]) => {
    expect(verifyRequest(signed(request, change), rules).isValid).toBe(false);
  });

  it.for<[reason: string, change: Partial<SignedRequest>, rule: Partial<VerificationRules>]>([
    ['is not signed', { fields: { 'signature-input': undefined } }, {}],
    ['no well-formed signature', { fields: { 'signature-input': 'orilla=("@method"' } }, {}],
    ['no well-formed signature', { fields: { 'signature-input': 'x'.repeat(4000) } }, {}],
    ['too long', { fields: { 'signature-input': 'x'.repeat(5000) } }, {}],
    ['no well-formed signature', { fields: { signature: 'orilla=:***:' } }, {}],
    ['does not cover bng-other', {}, { fieldNames: ['bng-other'] }],
    ['from the future', {}, { nowS: 900 }],
    ['too old', {}, { nowS: 1066 }],
    ['too old', {}, { nowS: 1030, maxAgeS: 10 }],
    ['not one that is trusted', {}, { keyOf: () => undefined }],
    ['not that of the key', {}, { keyOf: () => ED25519 }],
  ])('is refused and told why: %s', ([reason, change, rule]) => {
    expect(verifyRequest(signed(request, change), { ...rules, ...rule })).toMatchObject({
      isValid: false,
      reason: expect.stringContaining(reason),
    });
  });

  it('does not cover a component twice, nor one with parameters', () => {
    const { signatureInput } = requestSigner(key, ['bng-api-url'])(request, times);
    for (const list of ['"@method" "@method"', '"@method";req', '"@method"  "@path"']) {
      const fields = { 'signature-input': signatureInput.replace('"@method"', list) };
      expect(verifyRequest(signed(request, { fields }), rules).isValid, list).toBe(false);
    }
  });

  it('never throws and never believes, whatever stands in its fields', () => {
    const text = fc.oneof(
      fc.string(),
      fc.string({ unit: fc.constantFrom(...Array.from('orilla=("@method");:,created10 ')) }),
    );
    fc.assert(
      fc.property(text, text, (signatureInput, signature) => {
        const fields = { 'signature-input': signatureInput, signature };
        expect(verifyRequest(signed(request, { fields }), rules).isValid).toBe(false);
      }),
    );
  });

  it('is found in a field of the largest size in no time that grows out of hand', () => {
    const hostile = `orilla=(${'"a" '.repeat(1000)}`;
    expect(
      verifyRequest(signed(request, { fields: { 'signature-input': hostile.slice(0, 4096) } }), rules)
        .isValid,
    ).toBe(false);
  });
});

describe('the memory of nonces', () => {
  it('knows one again for as long as a signature holds', () => {
    const memory = new NonceMemory({ lifetimeMs: 60_000, limit: 1000 });
    expect(memory.isNew('a', 0)).toBe(true);
    expect(memory.isNew('a', 1)).toBe(false);
    expect(memory.isNew('a', 60_000)).toBe(false);
    expect(memory.isNew('b', 60_001)).toBe(true);
    expect(memory.isNew('a', 180_000)).toBe(true);
  });

  it('keeps no more than its limit allows', () => {
    const memory = new NonceMemory({ lifetimeMs: 60_000, limit: 10 });
    for (let i = 0; i < 100; i += 1) memory.isNew(`n${i}`, 0);
    expect(memory.isNew('n99', 0)).toBe(false);
    expect(memory.isNew('n0', 0)).toBe(true);
  });
});
