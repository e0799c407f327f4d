import { type IncomingHttpHeaders, request } from 'node:http';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** `Orilla-Served-By`, empty without it. */
  readonly servedBy: string;
  readonly body: string;
}

export interface Question {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Longer than any answer that a test waits for; a server that never answers fails the test with this. */
const LIMIT_MS = 60_000;

/** Asks a server of this machine for a page of `host`, over a connection of its own. Rejects when the answer breaks off. */
export function ask(port: number, host: string, path = '/', question: Question = {}): Promise<Answer> {
  const { method = 'GET', headers, body } = question;
  return new Promise((resolve, reject) => {
    const asked = request(
      {
        host: '127.0.0.1',
        port,
        path,
        method,
        headers: { ...headers, host },
        agent: false,
        timeout: LIMIT_MS,
      },
      (answer) => {
        let received = '';
        answer.setEncoding('utf8').on('data', (text: string) => {
          received += text;
        });
        answer.on('error', reject);
        answer.on('end', () =>
          resolve({
            status: answer.statusCode ?? 0,
            headers: answer.headers,
            servedBy: String(answer.headers['orilla-served-by'] ?? ''),
            body: received,
          }),
        );
      },
    );
    asked.on('timeout', () => asked.destroy(new Error(`${host}${path}: silent for ${LIMIT_MS} ms`)));
    asked.on('error', reject);
    asked.end(body);
  });
}
