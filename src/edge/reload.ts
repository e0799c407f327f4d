import type { EdgeConfig } from './config.ts';

/** What differs between two configurations, by key: what takes effect at once, and what at the next start. */
export interface ConfigChanges {
  readonly applied: readonly string[];
  readonly needRestart: readonly string[];
}

/** The keys that take effect without an interruption. */
const RELOADABLE = new Set([
  'log',
  'gateway.origins',
  'gateway.showServedBy',
  'gateway.tag',
  'gateway.tagDigest',
  'gateway.limits',
  'gateway.tls.certificates',
  ...['forwardProxy', 'transparent'].flatMap((proxy) =>
    ['allow', 'clients', 'privateNetworks'].map((key) => `gateway.${proxy}.${key}`),
  ),
]);

export function compareConfigs(before: EdgeConfig, after: EdgeConfig): ConfigChanges {
  const [old, fresh] = [new Map(settings(before)), new Map(settings(after))];
  const changed = [...new Set([...old.keys(), ...fresh.keys()])].filter(
    (key) => JSON.stringify(old.get(key)) !== JSON.stringify(fresh.get(key)),
  );
  return {
    applied: changed.filter((key) => RELOADABLE.has(key)),
    needRestart: changed.filter((key) => !RELOADABLE.has(key)),
  };
}

/** What is in effect once `after` was reloaded over `before`. */
export function withReloaded(before: EdgeConfig, after: EdgeConfig): EdgeConfig {
  const { origins, showServedBy, tag, tagDigest, limits } = after.gateway;
  const { tls, forwardProxy, transparent } = before.gateway;
  return {
    ...before,
    log: after.log,
    gateway: {
      ...before.gateway,
      origins,
      showServedBy,
      tag,
      tagDigest,
      limits,
      // As long as its listener is there, it shows a certificate.
      tls: tls && { ...tls, certificates: after.gateway.tls?.certificates ?? tls.certificates },
      forwardProxy: forwardProxy && {
        ...(after.gateway.forwardProxy ?? NOTHING),
        listen: forwardProxy.listen,
      },
      transparent: transparent && {
        ...(after.gateway.transparent ?? NOTHING),
        listen: transparent.listen,
        tlsListen: transparent.tlsListen,
      },
    },
  };
}

/** The rules of a proxy that is not in the configuration any more, until its listener is gone too. */
const NOTHING = { allow: [], privateNetworks: [] };

/** Key and value, as the keys stand in the documentation; origins and configurations as one each. */
function settings({ log, gateway, pool, control }: EdgeConfig): [key: string, value: unknown][] {
  const { api, tls = {}, forwardProxy = {}, transparent = {}, ...rest } = gateway;
  const sections = {
    gateway: rest,
    'gateway.api': api,
    'gateway.tls': tls,
    'gateway.forwardProxy': forwardProxy,
    'gateway.transparent': transparent,
    pool,
    control,
  };
  return [
    ['log', log],
    ...Object.entries(sections).flatMap(([section, keys]) =>
      Object.entries(keys).map(([key, value]): [string, unknown] => [`${section}.${key}`, value]),
    ),
  ];
}
