/** Logs, metrics and health of a process. Metrics are prom-client's, names begin with `orilla_`, units are base units. */

export { Counter, Gauge, Histogram, type Metric, Registry } from 'prom-client';
export { type AuditEntry, AuditLog } from './audit-log.ts';
export { Health, type Readiness } from './health.ts';
export { createLog, LOG_LEVELS, type Log, type LogLevel, silentLog } from './log.ts';
