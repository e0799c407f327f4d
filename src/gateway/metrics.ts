import { Counter, Histogram, type Registry } from '../platform/telemetry/index.ts';
import type { Exchange } from './data-plane/data-plane.ts';

const FIRST_BYTE_BUCKETS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30];

/** Counts what passed. Labels are origins of the configuration and fixed words, so their number is bounded. */
export function gatewayMetrics(registry: Registry): (exchange: Exchange) => void {
  const registers = [registry];
  const requests = new Counter({
    name: 'orilla_gateway_requests_total',
    help: 'Requests by who answered them: origin, vm, or the gateway itself because nobody could.',
    labelNames: ['origin', 'served_by', 'status_class'],
    registers,
  });
  const bytes = new Counter({
    name: 'orilla_gateway_upstream_bytes_total',
    help: 'Octets over connections to origins and to VMs, both ways, heads included.',
    labelNames: ['origin', 'upstream'],
    registers,
  });
  const firstByte = new Histogram({
    name: 'orilla_gateway_first_byte_seconds',
    help: "From a request's head to the first octet of its answer.",
    labelNames: ['origin', 'served_by'],
    buckets: FIRST_BYTE_BUCKETS,
    registers,
  });
  const replays = new Counter({
    name: 'orilla_gateway_replays_total',
    help: 'Requests that a VM failed and the origin answered instead.',
    labelNames: ['origin'],
    registers,
  });
  const broken = new Counter({
    name: 'orilla_gateway_broken_answers_total',
    help: 'Answers that ended before they were whole, by who gave them.',
    labelNames: ['origin', 'served_by'],
    registers,
  });
  return (exchange) => {
    const { origin, servedBy: served_by, status } = exchange;
    requests.inc({ origin, served_by, status_class: `${Math.floor(status / 100)}xx` });
    bytes.inc({ origin, upstream: 'origin' }, exchange.originBytes);
    bytes.inc({ origin, upstream: 'vm' }, exchange.vmBytes);
    if (exchange.firstByteMs !== undefined)
      firstByte.observe({ origin, served_by }, exchange.firstByteMs / 1000);
    if (exchange.wasReplayed) replays.inc({ origin });
    if (exchange.firstByteMs !== undefined && exchange.failure !== undefined)
      broken.inc({ origin, served_by });
  };
}
