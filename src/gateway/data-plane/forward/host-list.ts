import { isIP } from 'node:net';

/**
 * The hosts that a proxy asks:
 *
 *     photos.example            this host, at the port of its protocol
 *     photos.example:8443       this host, at this port
 *     *.example  *.example:8443 every host below it, not itself
 *     *  *:8443                 every host
 *     192.0.2.7  [2001:db8::7]  an address, when it is asked by its address
 */
export class HostList {
  readonly #patterns: ReadonlySet<string>;

  constructor(patterns: readonly string[]) {
    this.#patterns = new Set(patterns.map((pattern) => canonicalAddress(pattern.toLowerCase())));
  }

  /** @param hostName lower case, an IPv6 address in brackets. */
  allows(hostName: string, port: number, defaultPort: number): boolean {
    if (this.names(hostName, port, defaultPort) || this.#has('*', port, defaultPort)) return true;
    if (isAddress(hostName)) return false;
    for (let dot = hostName.indexOf('.'); dot >= 0; dot = hostName.indexOf('.', dot + 1)) {
      if (this.#has(`*${hostName.slice(dot)}`, port, defaultPort)) return true;
    }
    return false;
  }

  /** Whether the host itself stands there. */
  names(hostName: string, port: number, defaultPort: number): boolean {
    return this.#has(canonicalAddress(hostName), port, defaultPort);
  }

  #has(pattern: string, port: number, defaultPort: number): boolean {
    return (port === defaultPort && this.#patterns.has(pattern)) || this.#patterns.has(`${pattern}:${port}`);
  }
}

const isAddress = (hostName: string): boolean => hostName.startsWith('[') || isIP(hostName) !== 0;

/** Of the many spellings of an IPv6 address, the one of RFC 5952. */
function canonicalAddress(host: string): string {
  const match = /^\[(.*)\](:\d+)?$/.exec(host);
  if (match?.[1] === undefined || isIP(match[1]) !== 6) return host;
  return `${new URL(`http://${host.slice(0, match[1].length + 2)}/`).hostname}${match[2] ?? ''}`;
}
