import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { temporaryFolder } from '../../../test/support/temporary-folder.ts';
import { RESUME_MESSAGE_BYTES, resumeProgram } from './resume-program.ts';

// What it does with a whole message changes the machine that it runs on: that is shown in a guest (test/integration).
describe.skipIf(process.arch !== 'x64')('the program with which a guest waits to be cloned', () => {
  test.for([0, 1, RESUME_MESSAGE_BYTES - 1])(
    'says that it waits, and fails without having done anything when it is told %i octets only',
    async (length) => {
      const path = join(await temporaryFolder(), 'resume');
      await writeFile(path, resumeProgram(), { mode: 0o755 });
      const child = spawn(path, { stdio: ['ignore', 'ignore', 'inherit', 'pipe', 'ignore', 'ignore'] });
      const exited = once(child, 'exit');
      const port = child.stdio[3] as Duplex;
      const [said] = (await once(port, 'data')) as [Buffer];
      expect(said.toString()).toBe('paused\n');
      port.end(Buffer.alloc(length));
      expect(await exited).toEqual([1, null]);
    },
  );
});
