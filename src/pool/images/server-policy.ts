import { addressKind } from '../../platform/sockets/index.ts';
import { poolError } from '../errors.ts';

/** Which servers may be asked for an image's files. Asked again at each redirect. */
export interface ServerPolicy {
  /** @throws `image_outside_root` when the server is not to be contacted. */
  check(url: URL): void;
  /** Whether this address, to which the server's name led, may be connected to. */
  mayConnect(url: URL, address: string): boolean;
}

/** What the operator allows one origin. Each entry is a host, or a host and a port; names and addresses alike. */
export interface ListedServers {
  readonly listed: readonly string[];
  /** The origin's own server: users' requests go there anyway, so images may come from it wherever it is. */
  readonly ownServer?: string | undefined;
}

/**
 * Only what is listed is contacted. A name that is listed has to lead to an address of the Internet: whoever holds the
 * name could otherwise point it into the operator's own network. A local address is connected to when it is itself on
 * the list, or behind the name `localhost`, which means nothing else (RFC 6761 §6.3).
 */
export function listedServers({ listed, ownServer }: ListedServers): ServerPolicy {
  const all = [...listed, ...(ownServer === undefined ? [] : [ownServer])];
  const isListed = (host: string, url: URL, entries: readonly string[]) =>
    entries.some((entry) => names(entry, host, url));
  return {
    check(url) {
      if (isListed(url.hostname, url, all)) return;
      throw poolError(
        'image_outside_root',
        `images may be fetched from ${all.join(', ') || 'no server'} only, not from ${url.host}`,
      );
    },
    mayConnect(url, address) {
      const kind = addressKind(address);
      if (kind !== 'local') return kind === 'public';
      return (
        isListed(bracketed(address), url, all) ||
        /(?:^|\.)localhost$/.test(url.hostname) ||
        (ownServer !== undefined && isListed(url.hostname, url, [ownServer]))
      );
    },
  };
}

/** For what the operator types: any server of the Internet, and the one that was named, wherever it is. */
export const serverOfOperator = (named: URL): ServerPolicy => ({
  check() {},
  mayConnect(url, address) {
    const kind = addressKind(address);
    return kind === 'public' || (kind === 'local' && url.host === named.host);
  },
});

/** Whether an entry is this host at the URL's port; without a port it means the scheme's own. */
function names(entry: string, host: string, url: URL): boolean {
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  const forms = [`${host}:${port}`, ...(url.port === '' ? [host] : [])];
  return forms.includes(entry.toLowerCase());
}

const bracketed = (address: string): string =>
  address.includes(':') ? new URL(`http://[${address.replace(/%.*$/s, '')}]/`).hostname : address;
