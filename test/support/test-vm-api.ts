import { systemClock } from '../../src/base/index.ts';
import { OriginVms } from '../../src/gateway/origin-vms.ts';
import { RefusedLogins } from '../../src/gateway/refused-logins.ts';
import { createVmApi } from '../../src/gateway/vm-api/vm-api.ts';
import { listen } from '../../src/platform/http/index.ts';
import { silentLog } from '../../src/platform/telemetry/index.ts';
import { RecordingAudit } from './recording-audit.ts';
import { type ScriptedApplications, TEST_ORIGINS } from './scripted-applications.ts';
import { SMALL, startTestPool } from './test-pool.ts';

/** The tokens of the origin `photos`, and of another. */
export const TOKEN = 'a-token-of-the-photo-site';
export const OTHER_TOKEN = 'a-token-of-somebody-else';
/** The id of a configuration with 256 MiB; the default one is `small`. */
export const LARGER = '4b1e86a7-0d5c-4d3a-9f7b-6a55a1f3c1d2';

/** The VM API over a pool of processes, asked without a network. */
export async function startTestVmApi(folder: string, applications?: ScriptedApplications) {
  const running = await startTestPool(folder);
  const audit = new RecordingAudit();
  const vms = new OriginVms({ pool: applications ?? running.pool, origins: TEST_ORIGINS });
  const clock = systemClock;
  const api = await createVmApi(
    {
      clock,
      log: silentLog,
      audit,
      refused: new RefusedLogins(clock, audit),
      pool: running.pool,
      vms,
    },
    {
      originOf: (token) => ({ [TOKEN]: 'photos', [OTHER_TOKEN]: 'other' })[token],
      signingKeys: [{ kid: 'a' }],
      configurations: { small: SMALL, [LARGER]: { ...SMALL, memoryBytes: 2 ** 28 } },
      defaultConfiguration: 'small',
      authorityOf: (name) => `${name}.edge.example:8080`,
      publicAddress: '192.0.2.1',
    },
  );
  /** Any path, with the token of `photos` unless the headers have another. */
  const ask = (
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    url: string,
    payload?: string | object,
    headers: Record<string, string> = {},
  ) =>
    api.inject({
      method,
      url,
      headers: {
        authorization: `Bearer ${TOKEN}`,
        ...(payload !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(payload !== undefined && {
        payload: typeof payload === 'string' ? payload : JSON.stringify(payload),
      }),
    });
  type Ask = typeof ask;
  return {
    ...running,
    audit,
    /** For those who ask over a network: `127.0.0.1:port`. */
    listen: async () => `127.0.0.1:${await listen(api, { host: '127.0.0.1', port: 0 })}`,
    ask,
    /** A path below that of VMs. */
    call: (...[method, path, payload, headers]: Partial<Parameters<Ask>>): ReturnType<Ask> =>
      ask(method ?? 'GET', `/version1/virtualmachine${path ?? ''}`, payload, headers),
    close: async () => {
      await api.close();
      await running.close();
    },
  };
}
