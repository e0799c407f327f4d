/** The command line: everything is checked here, once, and a mistake is named with what was expected. */
import { parseArgs } from 'node:util';
import { apiUrl } from './edge-client.ts';

export const HELP = `Usage: node examples/origin/origin.ts [options]

A photo site that has its own server started at the edge. Without --gateway it is just a photo site.

  --gateway HOST:PORT   a gateway that may be asked for a VM and is shown the token; repeatable (https://… for TLS)
  --image DIR           the VM's image, made by "orilla image build web"; served at /images/photos/
  --token-file FILE     holds the token that the gateway's operator gave us
  --answer FORM         how a visitor learns of the VM: header (default), body or redirect
  --port PORT           default 9000; 0 for any free one
  --host ADDRESS        where to listen, default 127.0.0.1
  --public-url URL      how the gateway reaches this origin, default http://HOST:PORT
  --retry-seconds N     how long a call that failed is not repeated, default 15
  --help

GET /stats tells how many requests and bytes this origin still serves itself.`;

export const ANSWER_FORMS = ['header', 'body', 'redirect'] as const;
export type AnswerForm = (typeof ANSWER_FORMS)[number];

export interface Options {
  readonly help: boolean;
  readonly host: string;
  readonly port: number;
  readonly answer: AnswerForm;
  readonly gateways: readonly URL[];
  readonly imageDir: string | undefined;
  readonly tokenFile: string | undefined;
  readonly publicUrl: string | undefined;
  readonly retryMs: number;
}

/** @throws {Error} whose message names the option and what was expected. */
export function parseOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      help: { type: 'boolean', default: false },
      host: { type: 'string', default: '127.0.0.1' },
      port: { type: 'string', default: '9000' },
      answer: { type: 'string', default: 'header' },
      gateway: { type: 'string', multiple: true, default: [] },
      image: { type: 'string' },
      'token-file': { type: 'string' },
      'public-url': { type: 'string' },
      'retry-seconds': { type: 'string', default: '15' },
    },
  });
  const gateways = values.gateway.map((text) => {
    const url = apiUrl(text);
    const plain = url?.username === '' && url.password === '' && url.search === '' && url.hash === '';
    if (!url || !plain) throw expected('gateway', text, 'HOST:PORT, or an http or https URL');
    return url;
  });
  if (gateways.length > 0 && (values.image === undefined || values['token-file'] === undefined)) {
    const missing = values.image === undefined ? '--image' : '--token-file';
    throw new Error(`--gateway needs ${missing} too: without it no VM can be asked for`);
  }
  const publicUrl = values['public-url'];
  if (publicUrl !== undefined && !/^https?:$/.test(URL.parse(publicUrl)?.protocol ?? '')) {
    throw expected('public-url', publicUrl, 'an http or https URL');
  }
  const answer = ANSWER_FORMS.find((form) => form === values.answer);
  if (answer === undefined) throw expected('answer', values.answer, ANSWER_FORMS.join(', '));
  return {
    help: values.help,
    host: values.host,
    port: wholeNumber('port', values.port, 65_535),
    answer,
    gateways,
    imageDir: values.image,
    tokenFile: values['token-file'],
    publicUrl: publicUrl?.replace(/\/+$/, ''),
    retryMs: wholeNumber('retry-seconds', values['retry-seconds'], 86_400) * 1000,
  };
}

function wholeNumber(option: string, text: string, max: number): number {
  if (!/^\d{1,9}$/.test(text) || Number(text) > max) {
    throw expected(option, text, `a whole number from 0 to ${max}`);
  }
  return Number(text);
}

function expected(option: string, text: string, what: string): Error {
  return new Error(`--${option}: expected ${what}; got "${text}"`);
}
