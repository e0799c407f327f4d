import { describe, expect, it } from 'vitest';
import { parseEdgeConfig } from './config.ts';
import { compareConfigs, withReloaded } from './reload.ts';

const BEFORE = `
log: info
gateway: { edgeDomain: edge.example, origins: { photos: { hosts: [photos.example], upstream: 'http://192.0.2.7' } } }
pool: { configurations: { big: { cpus: 2 } }, defaultConfiguration: big }
`;
const AFTER = `
log: debug
gateway:
  edgeDomain: other.example
  showServedBy: false
  tag: api-server
  tagDigest: md5
  api: { listen: 9999 }
  origins: { photos: { hosts: [photos.example], upstream: 'http://192.0.2.8' } }
pool: { configurations: { big: { cpus: 4 } } }
control: { listen: 9998 }
`;
const parse = (text: string) => parseEdgeConfig(text, 'orilla.yaml', '/etc/orilla');

describe('a changed configuration', () => {
  it('is told by key: what takes effect at once, and what waits for a restart', () => {
    expect(compareConfigs(parse(BEFORE), parse(BEFORE))).toEqual({ applied: [], needRestart: [] });
    const { applied, needRestart } = compareConfigs(parse(BEFORE), parse(AFTER));
    expect(applied.toSorted()).toEqual([
      'gateway.origins',
      'gateway.showServedBy',
      'gateway.tag',
      'gateway.tagDigest',
      'log',
    ]);
    expect(needRestart.toSorted()).toEqual([
      'control.listen',
      'gateway.api.listen',
      'gateway.edgeDomain',
      'pool.configurations',
      'pool.defaultConfiguration',
    ]);
  });

  it('waits for the restart for as long as that does not come, and is settled when it is taken back', () => {
    const running = withReloaded(parse(BEFORE), parse(AFTER));
    expect(compareConfigs(running, parse(AFTER))).toEqual({
      applied: [],
      needRestart: compareConfigs(parse(BEFORE), parse(AFTER)).needRestart,
    });
    expect(compareConfigs(running, parse(BEFORE)).needRestart).toEqual([]);
    expect(compareConfigs(running, parse(BEFORE)).applied).toHaveLength(5);
  });
});
