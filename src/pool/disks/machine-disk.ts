import { stat } from 'node:fs/promises';

/** A disk of a VM, for one writer: nobody else opens it while its machine lives. */
export interface MachineDisk {
  readonly path: string;
  /** Never guessed: a guest can write whatever it likes into its first sector. */
  readonly format: 'raw' | 'qcow2';
  /** How large the guest sees it. */
  readonly sizeBytes: number;
  /** What a qcow2 disk lies over: it is read where the guest has written nothing, and never changed. */
  readonly backing?: { readonly path: string; readonly format: 'raw' | 'qcow2' } | undefined;
}

/** Whether nobody has written to any of them. */
export async function areUntouched(disks: readonly MachineDisk[]): Promise<boolean> {
  for (const { path, format } of disks) {
    if (format !== 'raw' || (await stat(path)).blocks > 0) return false;
  }
  return true;
}
