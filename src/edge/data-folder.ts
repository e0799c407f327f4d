import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { defineErrors, messageOf } from '../base/index.ts';

const edgeError = defineErrors({ data_folder_unusable: 500 });

/** Where one Orilla keeps what it keeps: one folder, and these places in it. */
export function dataFolder(folder: string) {
  return {
    folder,
    store: join(folder, 'orilla.db'),
    images: join(folder, 'images'),
    /** Below which origins may name directories as images. */
    imageDirectory: join(folder, 'provided-images'),
    /** What is put into VMs while they run. */
    applications: join(folder, 'applications'),
    run: join(folder, 'run'),
    /** What VMs were when they were suspended, before they were changed, and as snapshots: a folder for each. */
    saved: join(folder, 'saved'),
    /** Memories of booted guests, from which machines are made quickly. */
    templates: join(folder, 'templates'),
    /** What VMs write to their disks. */
    vms: join(folder, 'vms'),
    /** Under it lie the memories of suspended guests. */
    masterKey: join(folder, 'master.key'),
    /** The data plane's processes, and the socket over which they are told what to do. */
    workers: join(folder, 'workers'),
    /** Downloads that can be had again. */
    cache: join(folder, 'cache'),
    /** The gateway's private key. */
    gatewayKey: join(folder, 'gateway-key.pem'),
    /** By which clients know the gateway's SSH server. */
    sshHostKey: join(folder, 'ssh-host-key'),
    /** Of origins that were added by command. */
    originTokens: join(folder, 'origin-tokens'),
    /** Who did what. */
    auditLog: join(folder, 'audit.log'),
    acceleratorVerdict: join(folder, 'accelerator.json'),
    /** The operator's socket: whoever may open it may do everything. */
    controlSocket: join(folder, 'control.sock'),
  } as const;
}
export type DataFolder = ReturnType<typeof dataFolder>;

/** sockaddr_un.sun_path has 108 octets, one of them the final NUL (unix(7)). */
const SOCKET_PATH_LIMIT = 107;
/** Of the longest socket below the folder, a machine's monitor: `run/<24 of its VM's name>-<6 more>/qmp`. */
const LONGEST_SOCKET_OCTETS = '/run//qmp'.length + 31;

/** @throws `data_folder_unusable`, now rather than when the first VM starts. */
export async function makeDataFolder({ folder }: DataFolder): Promise<void> {
  const limit = SOCKET_PATH_LIMIT - LONGEST_SOCKET_OCTETS;
  if (Buffer.byteLength(folder) > limit) {
    throw edgeError(
      'data_folder_unusable',
      `the path ${folder} is too long for a Unix socket in it; name a data folder of at most ${limit} octets`,
    );
  }
  await mkdir(folder, { recursive: true, mode: 0o750 }).catch((error: unknown) => {
    throw edgeError(
      'data_folder_unusable',
      `the data folder ${folder} cannot be made: ${messageOf(error)}`,
      error,
    );
  });
}
