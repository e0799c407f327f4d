import { formatBytes, formatDuration } from '../base/index.ts';
import { type Status, statusSchema } from '../edge/schema.ts';
import { ControlClient } from './control-client.ts';
import { printTable } from './output.ts';

/** `orilla gateway status`: a line a site. */
export async function printGatewayStatus(options: { data: string; json?: boolean }): Promise<void> {
  const { origins } = await new ControlClient(options.data).get('/api/v1/status', statusSchema);
  const time = (durationMs: number | undefined) =>
    durationMs === undefined ? '-' : formatDuration(durationMs);
  printTable<Status['origins'][number]>(
    origins,
    {
      site: ({ name }) => name,
      'served by': ({ servedBy }) => servedBy.join(', '),
      offload: ({ offload }) => offload,
      'at the edge': ({ requests }) => share(requests.vm, requests.vm + requests.origin + requests.gateway),
      requests: ({ requests }) => String(requests.vm + requests.origin + requests.gateway),
      failed: ({ requests }) => String(requests.gateway),
      replayed: ({ replays }) => String(replays),
      'kept at the edge': ({ bytes }) => formatBytes(bytes.vm),
      'to the origin': ({ bytes }) => formatBytes(bytes.origin),
      'first byte edge': ({ firstByteMs }) => time(firstByteMs.vm),
      'first byte origin': ({ firstByteMs }) => time(firstByteMs.origin),
    },
    {
      ...options,
      empty:
        'no sites: add one with "orilla origin add", or name it under gateway.origins in the configuration',
    },
  );
}

const share = (part: number, whole: number): string =>
  whole === 0 ? '-' : `${Math.round((100 * part) / whole)} %`;
