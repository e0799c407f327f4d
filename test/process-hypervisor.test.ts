import { describe } from 'vitest';
import { hypervisorSuite } from './support/hypervisor-suite.ts';
import { ProcessHypervisor } from './support/process-hypervisor.ts';
import { SMALL } from './support/test-pool.ts';

describe('machines as processes', () => {
  hypervisorSuite(
    () => new ProcessHypervisor(),
    (id) => ({ id, name: id, configuration: SMALL, image: {} as never }),
  );
});
