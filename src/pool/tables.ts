import type { Migration } from '../platform/store/index.ts';
import type { ApplicationTables } from './applications/application-table.ts';
import type { ImageTables } from './image-table.ts';
import type { OperationTables } from './operation-table.ts';
import type { UpgradeTables } from './upgrade-table.ts';
import type { VmTables } from './vm-table.ts';

/** What the pool keeps in the store. */
export type PoolTables = VmTables & OperationTables & ImageTables & UpgradeTables & ApplicationTables;

export const poolMigrations: readonly Migration[] = [
  {
    id: 'pool-001-vm',
    up: async (db) => {
      await db.schema
        .createTable('pool_vm')
        .addColumn('name', 'text', (column) => column.primaryKey())
        .addColumn('owner', 'text', (column) => column.notNull())
        .addColumn('image_ref', 'text', (column) => column.notNull())
        .addColumn('image_digest', 'text')
        .addColumn('configuration', 'text', (column) => column.notNull())
        .addColumn('owner_note', 'text', (column) => column.notNull())
        .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
        .execute();
    },
  },
  {
    id: 'pool-002-vm-version',
    up: async (db) => {
      for (const name of ['version', 'latest_version']) {
        await db.schema
          .alterTable('pool_vm')
          .addColumn(name, 'integer', (column) => column.notNull().defaultTo(1))
          .execute();
      }
      await db.schema
        .createTable('pool_vm_version')
        .addColumn('name', 'text', (column) => column.notNull())
        .addColumn('role', 'text', (column) => column.notNull())
        .addColumn('version', 'integer', (column) => column.notNull())
        .addColumn('image_ref', 'text', (column) => column.notNull())
        .addColumn('image_digest', 'text')
        .addColumn('configuration', 'text', (column) => column.notNull())
        .addColumn('owner_note', 'text', (column) => column.notNull())
        .addPrimaryKeyConstraint('pool_vm_version_key', ['name', 'role'])
        .execute();
    },
  },
  {
    id: 'pool-003-operation',
    up: async (db) => {
      await db.schema
        .createTable('pool_operation')
        .addColumn('id', 'text', (column) => column.primaryKey())
        .addColumn('owner', 'text', (column) => column.notNull())
        .addColumn('kind', 'text', (column) => column.notNull())
        .addColumn('vm', 'text', (column) => column.notNull())
        .addColumn('version', 'integer', (column) => column.notNull())
        .addColumn('status', 'text', (column) => column.notNull())
        .addColumn('reason', 'text')
        .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
        .addColumn('finished_at_ms', 'bigint')
        .execute();
      await db.schema
        .createTable('pool_request')
        .addColumn('owner', 'text', (column) => column.notNull())
        .addColumn('request_key', 'text', (column) => column.notNull())
        .addColumn('fingerprint', 'text', (column) => column.notNull())
        .addColumn('operation_id', 'text', (column) => column.notNull())
        .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
        .addPrimaryKeyConstraint('pool_request_key', ['owner', 'request_key'])
        .execute();
    },
  },
  {
    id: 'pool-004-image',
    up: async (db) => {
      await db.schema
        .createTable('pool_image')
        .addColumn('owner', 'text', (column) => column.notNull())
        .addColumn('digest', 'text', (column) => column.notNull())
        .addColumn('was_fetched', 'integer', (column) => column.notNull())
        .addColumn('used_at_ms', 'bigint', (column) => column.notNull())
        .addColumn('withdrawn_at_ms', 'bigint')
        .addPrimaryKeyConstraint('pool_image_key', ['owner', 'digest'])
        .execute();
    },
  },
  {
    id: 'pool-005-machine',
    up: async (db) => {
      await db.schema
        .createTable('pool_machine')
        .addColumn('name', 'text', (column) => column.notNull())
        .addColumn('version', 'integer', (column) => column.notNull())
        .addColumn('machine_id', 'text', (column) => column.notNull())
        .addPrimaryKeyConstraint('pool_machine_key', ['name', 'version'])
        .execute();
    },
  },
  {
    id: 'pool-006-suspension',
    up: (db) => db.schema.alterTable('pool_vm').addColumn('suspended_by', 'text').execute(),
  },
  {
    id: 'pool-007-upgrade',
    up: (db) =>
      db.schema
        .createTable('pool_upgrade')
        .addColumn('id', 'text', (column) => column.primaryKey())
        .addColumn('status', 'text', (column) => column.notNull())
        .addColumn('record', 'text', (column) => column.notNull())
        .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
        .execute(),
  },
  {
    id: 'pool-008-application',
    up: async (db) => {
      await db.schema
        .createTable('pool_application')
        .addColumn('vm', 'text', (column) => column.primaryKey())
        .addColumn('name', 'text', (column) => column.notNull())
        .addColumn('version', 'text', (column) => column.notNull())
        .addColumn('digest', 'text', (column) => column.notNull())
        .execute();
      await db.schema
        .createTable('pool_deployment')
        .addColumn('vm', 'text', (column) => column.primaryKey())
        .addColumn('owner', 'text', (column) => column.notNull())
        .addColumn('operation_id', 'text', (column) => column.notNull())
        .addColumn('application_ref', 'text')
        .addColumn('digest', 'text')
        .addColumn('authority', 'text', (column) => column.notNull())
        .execute();
    },
  },
];
