import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { LoadedVm } from '../../src/gateway/schema.ts';
import { type Answer, ask, type Question } from './ask.ts';
import type { RunningOrilla } from './running-orilla.ts';

const PATH = '/version1/virtualmachine';

export interface WantedVm {
  readonly name: string;
  readonly imageRef: string;
  readonly imageDigest?: string;
  readonly configurationid?: string;
  readonly configuration?: object;
}

/** The VM-loading API as an origin uses it: over HTTP, with its own token. */
export class VmApiClient {
  readonly #orilla: RunningOrilla;
  readonly #token: string;

  constructor(orilla: RunningOrilla, origin: string) {
    this.#orilla = orilla;
    this.#token = readFileSync(join(dirname(orilla.configFile), `${origin}.token`), 'utf8').trim();
  }

  /** Any request about VMs, with the token. */
  ask(path = '', question: Question = {}): Promise<Answer> {
    return this.#ask(`${PATH}${path}`, question);
  }

  /** What became of what was asked. */
  operation(id: string): Promise<Answer> {
    return this.#ask(`/version1/operations/${id}`, {});
  }

  load(virtualmachine: WantedVm, headers: Question['headers'] = {}): Promise<Answer> {
    return this.ask('', {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ virtualmachine }),
    });
  }

  /** A new version in place of the old one, waited for. */
  change(
    { name, ...virtualmachine }: WantedVm,
    headers: Question['headers'] = { prefer: 'wait=60' },
  ): Promise<Answer> {
    return this.ask(`/${name}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ virtualmachine }),
    });
  }

  rollBack(name: string): Promise<Answer> {
    return this.ask(`/${name}/rollback`, { method: 'POST', headers: { prefer: 'wait=60' } });
  }

  async get(name: string): Promise<LoadedVm> {
    return loadedVm(await this.ask(`/${name}`));
  }

  /** Status 204 when it is done. */
  async remove(name: string): Promise<number> {
    return (await this.ask(`/${name}`, { method: 'DELETE' })).status;
  }

  #ask(path: string, question: Question): Promise<Answer> {
    const headers = { authorization: `Bearer ${this.#token}`, ...question.headers };
    return ask(this.#orilla.apiPort, '127.0.0.1', path, { ...question, headers });
  }
}

/** The VM in an answer of the API. */
export function loadedVm({ status, body }: Answer): LoadedVm {
  if (status >= 300) throw new Error(`the VM API answered ${status}: ${body}`);
  return (JSON.parse(body) as { virtualmachine: LoadedVm }).virtualmachine;
}
