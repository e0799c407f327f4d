import { createHmac, createPublicKey, generateKeyPairSync, hkdfSync, verify } from 'node:crypto';
import { httpbis, type Request } from 'http-message-signatures';
import { describe, expect, it } from 'vitest';
import { type SignedRequest, type SigningKey, verifyRequest } from '../trust/index.ts';
import { makeTag, tagWriter } from './tag.ts';
import { gatewayKey, gatewayVerifyingKey, sharedTagKey } from './tag-key.ts';

const TOKEN = 'a-token-that-both-sides-hold';
const tag = makeTag('api-url', '192.0.2.1:8081');
const asked = { method: 'GET', authority: 'photos.example:8080', path: '/a' };

const fieldsOf = (lines: string): Record<string, string> =>
  Object.fromEntries(
    Array.from(lines.matchAll(/(.+?): (.*)\r\n/g), ([, name = '', value = '']) => [
      name.toLowerCase(),
      value,
    ]),
  );

function signedNow(key: SigningKey) {
  const moment = { nowS: Math.floor(Date.now() / 1000), nonce: 'abc' };
  return fieldsOf(tagWriter(tag, key)(asked, moment));
}

/** The same request as the other implementation of RFC 9421 wants it. */
const foreign = (headers: Record<string, string>): Request => ({
  method: 'GET',
  url: 'http://photos.example:8080/a?x=y',
  headers,
});

describe("the gateway's signature", () => {
  it('by a shared key is verified by an implementation that is not ours', async () => {
    const headers = signedNow(sharedTagKey(TOKEN));
    const secret = Buffer.from(hkdfSync('sha256', TOKEN, '', 'orilla tag signature 1', 32));
    const verifyWith = (hmacKey: Buffer) =>
      httpbis.verifyMessage(
        {
          requiredFields: ['@method', '@authority', '@path', 'bng-api-url'],
          keyLookup: async () => ({
            algs: ['hmac-sha256'],
            verify: async (data, signature) =>
              createHmac('sha256', hmacKey).update(data).digest().equals(signature),
          }),
        },
        foreign(headers),
      );
    expect(await verifyWith(secret)).toBe(true);
    expect(await verifyWith(Buffer.alloc(32))).toBe(false);
  });

  it("by the gateway's own key is verified by an implementation that is not ours", async () => {
    const { privateKey } = generateKeyPairSync('ed25519');
    const key = gatewayKey(privateKey);
    const config = {
      keyLookup: async ({ keyid }: { keyid?: string }) =>
        keyid === key.keyId
          ? {
              algs: ['ed25519'],
              verify: async (data: Buffer, signature: Buffer) =>
                verify(null, data, createPublicKey({ key: { ...key.publicJwk }, format: 'jwk' }), signature),
            }
          : null,
    };
    expect(await httpbis.verifyMessage(config, foreign(signedNow(key)))).toBe(true);
    const forged = { ...signedNow(key), 'bng-api-url': '198.51.100.1/version1/virtualmachine' };
    expect(await httpbis.verifyMessage(config, foreign(forged))).toBe(false);
  });

  it('is verified by ours with either key, and with no other', () => {
    const { privateKey } = generateKeyPairSync('ed25519');
    const own = gatewayKey(privateKey);
    const shared = sharedTagKey(TOKEN);
    const verdict = (
      signing: typeof own | typeof shared,
      trusted: ReturnType<typeof gatewayVerifyingKey> | typeof shared,
    ) => {
      const request: SignedRequest = { ...asked, fields: signedNow(signing) };
      return verifyRequest(request, {
        keyOf: (keyId) => (keyId === trusted.keyId ? trusted : undefined),
        fieldNames: ['bng-api-url'],
        nowS: Math.floor(Date.now() / 1000),
        maxAgeS: 60,
      }).isValid;
    };
    expect(verdict(own, gatewayVerifyingKey(own.publicJwk))).toBe(true);
    expect(verdict(shared, shared)).toBe(true);
    expect(verdict(shared, sharedTagKey('another-token-of-somebody-else'))).toBe(false);
    expect(
      verdict(own, gatewayVerifyingKey(gatewayKey(generateKeyPairSync('ed25519').privateKey).publicJwk)),
    ).toBe(false);
  });

  it('names its key by the thumbprint of RFC 8037, appendix A.3', () => {
    const { keyId } = gatewayVerifyingKey({
      kty: 'OKP',
      crv: 'Ed25519',
      x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo',
    });
    expect(keyId).toBe('kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k');
  });
});

describe('the VM that runs here', () => {
  const assigned = { value: 'vm33.isp1.example', digest: 'md5 of it' };

  it('is named as the document has it, with its digest where one is wanted [gateway G12]', () => {
    expect(tagWriter(tag, undefined, assigned)(asked, { nowS: 0, nonce: '' })).toBe(
      'Bng-API-URL: 192.0.2.1:8081/version1/virtualmachine\r\n' +
        'Bng-assigned-Server: vm33.isp1.example\r\nBng-assigned-Digest: md5 of it\r\n',
    );
  });

  it('is under the signature: another name, or none, is not believed [gateway G12]', () => {
    const key = sharedTagKey(TOKEN);
    const nowS = Math.floor(Date.now() / 1000);
    const fields = fieldsOf(tagWriter(tag, key, assigned)(asked, { nowS, nonce: 'abc' }));
    const rules = { keyOf: () => key, fieldNames: ['bng-api-url', 'bng-assigned-server'], nowS, maxAgeS: 60 };
    const isValid = (change: Record<string, string | undefined>) =>
      verifyRequest({ ...asked, fields: { ...fields, ...change } }, rules).isValid;
    expect(isValid({})).toBe(true);
    expect(isValid({ 'bng-assigned-server': 'vm66.isp1.example' })).toBe(false);
    expect(isValid({ 'bng-assigned-server': undefined })).toBe(false);
  });
});

describe("the document's digest", () => {
  it('stands beside the tag where it is wanted [gateway G2]', () => {
    const digested = makeTag('api-server', '11.22.1.1', (text) => `md5 of ${text}`);
    expect(tagWriter(digested)(asked, { nowS: 0, nonce: '' })).toBe(
      'Bng-API-Server: 11.22.1.1\r\nBng-API-Digest: md5 of 11.22.1.1\r\n',
    );
  });
});
