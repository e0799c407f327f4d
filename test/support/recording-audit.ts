import { hasCode } from '../../src/base/index.ts';
import type { AuditEntry, AuditLog } from '../../src/platform/telemetry/index.ts';

/** An audit log that tests can read. */
export class RecordingAudit implements Pick<AuditLog, 'audited' | 'record'> {
  readonly entries: (AuditEntry & { readonly outcome: string })[] = [];

  async audited<Result>(entry: AuditEntry, work: () => Promise<Result>): Promise<Result> {
    try {
      const result = await work();
      this.entries.push({ ...entry, outcome: 'done' });
      return result;
    } catch (error) {
      this.entries.push({ ...entry, outcome: hasCode(error) ? error.code : 'internal' });
      throw error;
    }
  }

  async record(entry: AuditEntry, outcome: string): Promise<void> {
    this.entries.push({ ...entry, outcome });
  }
}
