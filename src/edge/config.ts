/**
 * `orilla.yaml`: what one Orilla runs. Every key is listed in `docs/operations.md`.
 * @module
 */
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { messageOf } from '../base/index.ts';
import { TAG_FORMS } from '../gateway/index.ts';
import { hostFaults, hostsSchema, imageHostsSchema, maxVmsSchema } from '../gateway/routes.ts';
import {
  byteSizeSchema,
  configError,
  durationSchema,
  hostNameSchema,
  httpServerSchema,
  listenSchema,
  parseConfig,
} from '../platform/config/index.ts';
import { LOG_LEVELS } from '../platform/telemetry/index.ts';
import type { Configuration } from '../pool/schema.ts';
import { labelSchema } from '../pool/schema.ts';

const addressSchema = z
  .string()
  .regex(/^[A-Za-z0-9.:[\]-]{1,253}$/, 'expected a host name or an IP address, without port');

/** The bundled guest boots in 128 MiB; its content is in memory too. */
const SMALL_MEMORY_BYTES = 192 * 2 ** 20;

const originSchema = z.strictObject({
  hosts: hostsSchema,
  upstream: httpServerSchema,
  offload: z
    .strictObject({
      tokenFile: z.string().min(1),
      imageHosts: imageHostsSchema,
      maxVms: maxVmsSchema,
    })
    .optional(),
});

const configurationSchema = z
  .strictObject({
    cpus: z.int().min(1).max(256).default(1),
    memory: byteSizeSchema.default(SMALL_MEMORY_BYTES),
    disk: byteSizeSchema.default(0),
  })
  .transform(({ cpus, memory, disk }): Configuration => ({ cpus, memoryBytes: memory, diskBytes: disk }));

const configSchema = z
  .strictObject({
    log: z.enum(LOG_LEVELS).default('info'),
    gateway: z.strictObject({
      listen: listenSchema.default({ host: '127.0.0.1', port: 8080 }),
      workers: z.int().min(1).max(256).optional(),
      edgeDomain: hostNameSchema,
      publicAddress: addressSchema.default('127.0.0.1'),
      showServedBy: z.boolean().default(true),
      tag: z.enum(TAG_FORMS).default('api-url'),
      tagDigest: z.enum(['none', 'md5']).default('none'),
      api: z
        .strictObject({
          listen: listenSchema.default({ host: '127.0.0.1', port: 8081 }),
          publicHost: addressSchema.default('127.0.0.1'),
        })
        .prefault({}),
      /** Others are added by command. */
      origins: z.record(labelSchema, originSchema).default({}),
    }),
    pool: z
      .strictObject({
        configurations: z
          .record(z.string().regex(/^[A-Za-z0-9._-]{1,64}$/), configurationSchema)
          .default({ small: { cpus: 1, memoryBytes: SMALL_MEMORY_BYTES, diskBytes: 0 } }),
        defaultConfiguration: z.string().optional(),
        imageDirectory: z.string().min(1).optional(),
        maxVms: z.int().min(1).max(100_000).default(32),
        readyTimeout: durationSchema.default(60_000),
        accelerator: z.enum(['auto', 'kvm', 'tcg']).default('auto'),
      })
      .prefault({}),
    control: z.strictObject({ listen: listenSchema.default({ host: '127.0.0.1', port: 8088 }) }).prefault({}),
  })
  .superRefine((config, context) => {
    const { origins, edgeDomain } = config.gateway;
    const claims = Object.entries(origins).map(([name, { hosts }]) => ({ name, hosts }));
    for (const { origin, index, message } of hostFaults(claims, edgeDomain)) {
      const path = ['gateway', 'origins', origin, 'hosts', index];
      context.addIssue({ code: 'custom', path, message });
    }
    const { configurations, defaultConfiguration } = config.pool;
    if (defaultConfiguration !== undefined && !Object.hasOwn(configurations, defaultConfiguration)) {
      context.addIssue({
        code: 'custom',
        path: ['pool', 'defaultConfiguration'],
        message: `expected one of pool.configurations: ${Object.keys(configurations).join(', ')}`,
        input: defaultConfiguration,
      });
    }
  });

/** A configuration that was checked, with its files' paths made absolute and its ports moved. */
export type EdgeConfig = z.output<typeof configSchema>;

/**
 * @param folder where the paths in the text begin: the file's folder.
 * @param portOffset is added to every port but 0.
 * @throws `config_invalid`
 */
export function parseEdgeConfig(text: string, source: string, folder: string, portOffset = 0): EdgeConfig {
  const config = parseConfig(configSchema, text, source);
  const { gateway, control, pool } = config;
  for (const { listen } of [gateway, gateway.api, control]) {
    if (listen.port === 0) continue;
    listen.port += portOffset;
    if (listen.port > 65_535) {
      throw configError(
        'config_invalid',
        `--port-offset ${portOffset} moves a port to ${listen.port}, beyond 65535`,
      );
    }
  }
  for (const { offload } of Object.values(gateway.origins)) {
    if (offload) offload.tokenFile = resolve(folder, offload.tokenFile);
  }
  if (pool.imageDirectory !== undefined) pool.imageDirectory = resolve(folder, pool.imageDirectory);
  return config;
}

/** @throws `config_invalid`, also when the file cannot be read. */
export async function readEdgeConfig(path: string, portOffset = 0): Promise<EdgeConfig> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw configError('config_invalid', `cannot read the configuration ${path}: ${messageOf(error)}`, error);
  });
  return parseEdgeConfig(text, path, dirname(resolve(path)), portOffset);
}
