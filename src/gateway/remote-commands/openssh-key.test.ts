import { createPrivateKey } from 'node:crypto';
import ssh2 from 'ssh2';
import { describe, expect, it } from 'vitest';
import { opensshKey } from './openssh-key.ts';
import { isAuthorized, isSshKey } from './ssh-key.ts';

const parse = (key: string) => {
  const parsed = ssh2.utils.parseKey(key);
  if (parsed instanceof Error) throw parsed;
  return parsed;
};

/** The key of a seed that begins with this number: another for each, and the same at each run. */
function keyOf(number: number) {
  const seed = Buffer.alloc(32);
  seed.writeUInt32BE(number);
  // PKCS #8 of an Ed25519 key (RFC 8410 §7) up to the seed.
  const head = Buffer.from('302e020100300506032b657004220420', 'hex');
  return opensshKey(createPrivateKey({ key: Buffer.concat([head, seed]), format: 'der', type: 'pkcs8' }));
}

describe('a key for SSH', () => {
  it('is one that can be read and signs, whatever it begins with', () => {
    const firsts = new Set<number>();
    for (let turn = 0; turn < 1500; turn += 1) {
      const { privateKey, publicKey } = keyOf(turn);
      const [own, shown] = [parse(privateKey), parse(publicKey)];
      expect(own.getPublicSSH().equals(shown.getPublicSSH())).toBe(true);
      firsts.add(shown.getPublicSSH()[19] ?? -1);
      if (turn % 100 === 0) expect(shown.verify('a', own.sign('a'))).toBe(true);
    }
    expect(firsts).toContain(0);
  });

  it('lets in who holds it, and nobody who only shows it', () => {
    const { privateKey, publicKey } = keyOf(1);
    const key = parse(privateKey);
    expect(isSshKey(publicKey)).toBe(true);
    expect(isSshKey(privateKey)).toBe(false);
    const signed = Buffer.from('what is signed');
    const shown = { algorithm: 'ssh-ed25519', data: key.getPublicSSH() };
    const lines = [keyOf(2).publicKey, `${publicKey} anna@example`];
    expect(isAuthorized(lines, { ...shown, proof: { signed, signature: key.sign(signed) } })).toBe(true);
    const foreign = parse(keyOf(2).privateKey).sign(signed);
    expect(isAuthorized(lines, { ...shown, proof: { signed, signature: foreign } })).toBe(false);
    expect(isAuthorized(lines, { ...shown, proof: { signed, signature: Buffer.alloc(0) } })).toBe(false);
    expect(isAuthorized(lines, { ...shown, algorithm: 'ecdsa-sha2-nistp256' })).toBe(false);
    expect(isAuthorized(lines.slice(0, 1), shown)).toBe(false);
  });
});
