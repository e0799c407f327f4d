import { X509Certificate } from 'node:crypto';
import type { SecureContext, SecureContextOptions } from 'node:tls';
import type { Certificate } from '../data-plane.ts';

type MakeContext = (certificate: Certificate) => SecureContext;

/** A certificate ready for use. */
interface Ready {
  readonly certificate: Certificate;
  readonly context: SecureContext;
}

/** Which certificate is shown to a client, by the server name that it asks for (SNI, RFC 6066 §3). */
export class CertificateChooser {
  readonly #ready: readonly Ready[];
  readonly #byName = new Map<string, SecureContext>();

  /** @param earlier what was chosen from before: certificates that are still there are not made ready again. */
  constructor(certificates: readonly Certificate[], makeContext: MakeContext, earlier?: CertificateChooser) {
    this.#ready = certificates.map(
      (certificate) =>
        (earlier ? earlier.#ready : []).find((each) => isSame(each.certificate, certificate)) ?? {
          certificate,
          context: makeContext(certificate),
        },
    );
    for (const { certificate, context } of this.#ready) {
      for (const name of namesIn(certificate.certPem)) {
        if (!this.#byName.has(name)) this.#byName.set(name, context);
      }
    }
  }

  /** For clients that name no server, or one that no certificate is for. */
  get first(): Certificate | undefined {
    return this.#ready[0]?.certificate;
  }

  /** That of exactly this name, else that of `*` in place of its first label; `undefined`: the first. */
  choose(serverName: string): SecureContext | undefined {
    const name = serverName.toLowerCase();
    return this.#byName.get(name) ?? this.#byName.get(`*${name.slice(name.indexOf('.'))}`);
  }
}

export const isSame = (one: Certificate | undefined, other: Certificate | undefined): boolean =>
  one?.certPem === other?.certPem && one?.keyPem === other?.keyPem;

/** What a context, or a server, takes of a certificate. */
export const contextOptions = ({ certPem, keyPem }: Certificate): SecureContextOptions => ({
  cert: certPem,
  key: keyPem,
});

/**
 * The DNS names of a certificate, lower case: `DNS:photos.example, DNS:*.photos.example, IP Address:192.0.2.7`. Its common
 * name is none (RFC 9525 §2).
 */
export function namesIn(certPem: string): string[] {
  const list = new X509Certificate(certPem).subjectAltName ?? '';
  return [...list.matchAll(/(?:^|, )DNS:([A-Za-z0-9*._-]+)(?=, |$)/g)].map((match) =>
    String(match[1]).toLowerCase(),
  );
}
