import { systemClock } from '../base/index.ts';
import { demoError, type RunningDemo, SITE_HOST, startDemo, takeTour, VM_HOST } from '../demo/index.ts';
import { ProgressLine, print } from './output.ts';

export interface DemoCommandOptions {
  readonly check?: boolean;
  readonly data: string;
  readonly portOffset: number;
}

/** `orilla demo`: sets up, tells what to try, and runs until Ctrl-C; with `--check` takes the tour and ends. */
export async function demo(options: DemoCommandOptions): Promise<void> {
  const interrupted = firstInterruption();
  const progress = new ProgressLine();
  const starting = startDemo(systemClock, {
    dataFolder: options.data,
    portOffset: options.portOffset,
    say: (line) => progress.show(line),
  });
  const running = await starting.finally(() => progress.end());
  try {
    if (options.check) {
      await Promise.race([
        takeTour(systemClock, running, print),
        endedEarly(running),
        interrupted.then(stopTour),
      ]);
      print('the tour is over: everything went as it should');
    } else {
      print(invitation(running, options.data));
      await Promise.race([interrupted, endedEarly(running)]);
    }
  } finally {
    progress.show('ending');
    await running.close();
    progress.end();
  }
}

async function endedEarly(running: RunningDemo): Promise<never> {
  throw demoError('demo_failed', await running.failed);
}

function stopTour(): never {
  throw demoError('demo_failed', 'the tour was interrupted');
}

function firstInterruption(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => resolve());
  });
}

const invitation = ({ ports, logFolder }: RunningDemo, data: string): string => `
Orilla runs. A photo site has its origin at port ${ports.origin} and its visitors at the gateway.

  Open   http://${SITE_HOST}:${ports.gateway}/     the site: reload it, and see who served it
         http://127.0.0.1:${ports.control}/             what the gateway knows

  Try    curl -sI http://${SITE_HOST}:${ports.gateway}/ | grep -i orilla
         curl -s  http://${VM_HOST}:${ports.gateway}/cgi-bin/where
         npm run orilla -- vm ls${data === './orilla-data' ? '' : ` --data ${data}`}

  Logs   ${logFolder}/orilla.log, origin.log
  End    Ctrl-C
`;
