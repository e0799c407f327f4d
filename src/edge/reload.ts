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
  const { origins, showServedBy, tag, tagDigest } = after.gateway;
  return { ...before, log: after.log, gateway: { ...before.gateway, origins, showServedBy, tag, tagDigest } };
}

/** Key and value, as the keys stand in the documentation; origins and configurations as one each. */
function settings({ log, gateway, pool, control }: EdgeConfig): [key: string, value: unknown][] {
  const { api, ...rest } = gateway;
  const sections = { gateway: rest, 'gateway.api': api, pool, control };
  return [
    ['log', log],
    ...Object.entries(sections).flatMap(([section, keys]) =>
      Object.entries(keys).map(([key, value]): [string, unknown] => [`${section}.${key}`, value]),
    ),
  ];
}
