import { join } from 'node:path';

/** Where one Orilla keeps what it keeps: one folder, and these places in it. */
export function dataFolder(folder: string) {
  return {
    folder,
    store: join(folder, 'orilla.db'),
    images: join(folder, 'images'),
    /** Below which origins may name directories as images. */
    imageDirectory: join(folder, 'provided-images'),
    run: join(folder, 'run'),
    /** Downloads that can be had again. */
    cache: join(folder, 'cache'),
    acceleratorVerdict: join(folder, 'accelerator.json'),
    /** The operator's socket: whoever may open it may do everything. */
    controlSocket: join(folder, 'control.sock'),
  } as const;
}
export type DataFolder = ReturnType<typeof dataFolder>;
