import { Counter, Gauge, Histogram, type Registry } from '../platform/telemetry/index.ts';
import { type Vm, vmPhaseSchema } from './schema.ts';

/** Seconds; from a VM that is restored to one that boots a full system under emulation. */
const START_BUCKETS = [0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 2, 3, 5, 8, 15, 30, 60];

export function poolMetrics(registry: Registry, list: () => readonly Vm[]) {
  const phases = new Histogram({
    name: 'orilla_pool_vm_start_seconds',
    help: 'How long a start took, by phase: fetch of the image, preparation, boot to the first answer.',
    labelNames: ['phase'],
    buckets: START_BUCKETS,
    registers: [registry],
  });
  const crashes = new Counter({
    name: 'orilla_pool_vm_crashes_total',
    help: 'VMs that ended or fell silent while they served.',
    registers: [registry],
  });
  new Gauge({
    name: 'orilla_pool_vms',
    help: 'VMs by phase.',
    labelNames: ['phase'],
    registers: [registry],
    collect() {
      this.reset();
      for (const phase of vmPhaseSchema.options) this.set({ phase }, 0);
      for (const { phase } of list()) this.inc({ phase });
    },
  });
  return {
    /** A VM has come from one phase to the next. */
    observe({ phase, lastStart: start }: Vm, previous: Vm['phase']): void {
      if (phase === 'ready' && previous === 'starting' && start) {
        phases.observe({ phase: 'fetch' }, start.fetchMs / 1000);
        phases.observe({ phase: 'prepare' }, start.prepareMs / 1000);
        phases.observe({ phase: 'boot' }, start.bootMs / 1000);
      }
      const hasServed = previous === 'ready' || previous === 'suspending';
      if (hasServed && (phase === 'waiting' || phase === 'failed')) crashes.inc();
    },
  };
}
