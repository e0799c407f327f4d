/**
 * `orilla.yaml`: what one Orilla runs. Every key is listed in `docs/operations.md`.
 * @module
 */
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { messageOf } from '../base/index.ts';
import { ACCESS_LOG_FORMATS, TAG_FORMS } from '../gateway/index.ts';
import { hostFaults, hostsSchema, imageHostsSchema, maxVmsSchema, sshKeysSchema } from '../gateway/routes.ts';
import {
  byteSizeSchema,
  configError,
  durationSchema,
  hostNameSchema,
  httpServerSchema,
  listenSchema,
  parseConfig,
} from '../platform/config/index.ts';
import { isSubnet } from '../platform/sockets/index.ts';
import { LOG_LEVELS } from '../platform/telemetry/index.ts';
import type { Configuration } from '../pool/schema.ts';
import { labelSchema } from '../pool/schema.ts';

const addressSchema = z
  .string()
  .regex(/^[A-Za-z0-9.:[\]-]{1,253}$/, 'expected a host name or an IP address, without port');

/** The bundled guest boots in 128 MiB; its content is in memory too. */
const SMALL_MEMORY_BYTES = 192 * 2 ** 20;

const originSchema = z
  .strictObject({
    hosts: hostsSchema,
    upstream: httpServerSchema,
    upstreamCaFile: z.string().min(1).optional(),
    offload: z
      .strictObject({
        tokenFile: z.string().min(1),
        imageHosts: imageHostsSchema,
        maxVms: maxVmsSchema,
        maxMemory: byteSizeSchema.optional(),
        sshKeys: sshKeysSchema,
        applicationKeys: z.array(z.string().min(1)).max(32).default([]),
      })
      .optional(),
  })
  .refine(({ upstream, upstreamCaFile }) => upstream.isTls || upstreamCaFile === undefined, {
    path: ['upstreamCaFile'],
    message: 'expected an upstream by https:// beside it',
  });

const tlsSchema = z.strictObject({
  listen: listenSchema,
  certificates: z
    .array(z.strictObject({ certFile: z.string().min(1), keyFile: z.string().min(1) }))
    .min(1, 'expected one certificate at least')
    .max(1000),
});

const A_HOST_PATTERN =
  'expected a host, "*.example" for those below a domain, or "*"; a port may follow: "photos.example:8443"';

/** As `HostList` of the gateway reads them. */
const hostPatternSchema = z
  .string()
  .regex(
    /^(?=.{1,260}$)(?:\*|(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[1-9]\d{0,4})?$/i,
    A_HOST_PATTERN,
  )
  .refine((pattern) => Number(/:(\d+)$/.exec(pattern)?.[1] ?? 1) <= 65_535, A_HOST_PATTERN);

const subnetSchema = z
  .string()
  .refine(isSubnet, 'expected an address or a subnet, for example "10.0.0.0/8" or "2001:db8::/32"');

const subnetsSchema = z.array(subnetSchema).max(1000);

const forwardProxySchema = z.strictObject({
  listen: listenSchema,
  allow: z.array(hostPatternSchema).max(10_000).default([]),
  clients: subnetsSchema.optional(),
  privateNetworks: subnetsSchema.default([]),
});

const transparentSchema = z.strictObject({
  listen: listenSchema,
  /** At 443 a name that leads to this machine would be passed on to this listener again and again. */
  tlsListen: listenSchema
    .refine(({ port }) => port !== 443, 'expected another port than 443: redirect that one to it')
    .optional(),
  allow: z.array(hostPatternSchema).max(10_000).default(['*']),
  clients: subnetsSchema.optional(),
  privateNetworks: subnetsSchema.default([]),
});

const remoteCommandsSchema = z.strictObject({
  ssh: z.strictObject({ listen: listenSchema, hostKeyFile: z.string().min(1).optional() }).optional(),
  telnet: z
    .strictObject({
      listen: listenSchema.refine(
        ({ host }) => /^(?:127(?:\.\d{1,3}){3}|::1|localhost)$/.test(host),
        'expected an address of this machine alone, for example "127.0.0.1:8095": telnet encrypts nothing; from elsewhere use ssh',
      ),
    })
    .optional(),
});

const accessLogSchema = z.strictObject({
  file: z.string().min(1),
  format: z.enum(ACCESS_LOG_FORMATS).default('json'),
});

const limitsSchema = z
  .strictObject({
    connectionsPerClient: z.int().min(1).max(20_000).default(512),
    requestsPerSecondPerClient: z.int().min(1).max(1_000_000).optional(),
    requestsPerOrigin: z.int().min(1).max(20_000).default(4096),
    headTimeout: durationSchema
      .refine((durationMs) => durationMs >= 1000 && durationMs <= 300_000, 'expected 1 s to 5 min')
      .default(15_000),
  })
  .transform(({ headTimeout, ...counts }) => ({ ...counts, headTimeoutMs: headTimeout }));

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
      tls: tlsSchema.optional(),
      forwardProxy: forwardProxySchema.optional(),
      transparent: transparentSchema.optional(),
      remoteCommands: remoteCommandsSchema.prefault({}),
      accessLog: accessLogSchema.optional(),
      limits: limitsSchema.prefault({}),
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
        /** What the images that were fetched for VMs may take on the disk. */
        imageLimit: byteSizeSchema.default(32 * 2 ** 30),
        /** What machines that wait for a VM may take of the memory that no VM takes. */
        warmLimit: byteSizeSchema.default(2 * 2 ** 30),
        maxVms: z.int().min(1).max(100_000).default(32),
        readyTimeout: durationSchema.default(60_000),
        /** VMs that nobody asks anything for so long are suspended; none is when absent. */
        suspendAfter: durationSchema
          .refine((durationMs) => durationMs >= 1000, 'expected 1 s at least')
          .optional(),
        accelerator: z.enum(['auto', 'kvm', 'tcg']).default('auto'),
        allowUntrustedOnTcg: z.boolean().default(false),
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
  const { tls, forwardProxy, transparent, remoteCommands, accessLog } = gateway;
  const { ssh, telnet } = remoteCommands;
  const parts = [gateway, gateway.api, control, tls, forwardProxy, transparent, ssh, telnet];
  const listens = parts.map((part) => part?.listen);
  for (const listen of [...listens, transparent?.tlsListen]) {
    if (!listen || listen.port === 0) continue;
    listen.port += portOffset;
    if (listen.port > 65_535) {
      throw configError(
        'config_invalid',
        `--port-offset ${portOffset} moves a port to ${listen.port}, beyond 65535`,
      );
    }
  }
  for (const origin of Object.values(gateway.origins)) {
    const { offload, upstreamCaFile } = origin;
    if (offload) {
      offload.tokenFile = resolve(folder, offload.tokenFile);
      offload.applicationKeys = offload.applicationKeys.map((file) => resolve(folder, file));
    }
    if (upstreamCaFile !== undefined) origin.upstreamCaFile = resolve(folder, upstreamCaFile);
  }
  for (const certificate of tls?.certificates ?? []) {
    certificate.certFile = resolve(folder, certificate.certFile);
    certificate.keyFile = resolve(folder, certificate.keyFile);
  }
  if (ssh?.hostKeyFile !== undefined) ssh.hostKeyFile = resolve(folder, ssh.hostKeyFile);
  if (accessLog) accessLog.file = resolve(folder, accessLog.file);
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
