import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { toolPath } from './tools.ts';

/** Only root may use it so. */
const IP = toolPath('ip') ?? 'ip';

/** One machine of a small network: a network namespace with its own interfaces, addresses and packet filter. */
export class NetworkNamespace implements Disposable {
  readonly name: string;
  readonly #children: ChildProcess[] = [];

  constructor(name: string) {
    this.name = name;
    execFileSync(IP, ['netns', 'add', name]);
    this.ip('link set lo up');
  }

  /** A cable between two machines. */
  static connect(
    [a, aInterface]: readonly [NetworkNamespace, string],
    [b, bInterface]: readonly [NetworkNamespace, string],
  ): void {
    const ends = [aInterface, 'netns', a.name, 'type', 'veth', 'peer', 'name', bInterface, 'netns', b.name];
    execFileSync(IP, ['link', 'add', ...ends]);
    a.ip(`link set ${aInterface} up`);
    b.ip(`link set ${bInterface} up`);
  }

  ip(command: string): void {
    execFileSync(IP, ['-n', this.name, ...command.split(' ')]);
  }

  /** Runs a program there to its end, and gives what it printed. */
  run(program: string, args: readonly string[], input?: string): Promise<string> {
    const child = this.spawn(program, args);
    let printed = '';
    child.stdout?.on('data', (text: Buffer) => {
      printed += text.toString();
    });
    child.stdin?.end(input);
    return new Promise((resolve, reject) => {
      child.once('error', reject).once('close', (code) => {
        if (code === 0) resolve(printed);
        else reject(new Error(`${program} in ${this.name} ended with ${code}`));
      });
    });
  }

  /** Starts a program there; it ends with the machine. */
  spawn(program: string, args: readonly string[]): ChildProcess {
    const child = spawn(IP, ['netns', 'exec', this.name, program, ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#children.push(child);
    return child;
  }

  [Symbol.dispose](): void {
    for (const child of this.#children) child.kill('SIGKILL');
    execFileSync(IP, ['netns', 'del', this.name]);
  }
}
