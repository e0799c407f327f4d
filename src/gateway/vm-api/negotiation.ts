/** The forms in which the VM API answers. */
export type AnswerForm = 'json' | 'xml';

/** The form that an `Accept` header prefers (RFC 9110 §12.5.1); JSON when it does not matter. */
export function preferredForm(accept: string | undefined): AnswerForm {
  let best: { form: AnswerForm; quality: number } = { form: 'json', quality: 0 };
  for (const range of (accept ?? '').slice(0, 1024).split(',')) {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase());
    const form = /^(?:application|text)\/xml$/.test(type)
      ? 'xml'
      : /^application\/(?:json|\*)$|^\*\/\*$/.test(type)
        ? 'json'
        : undefined;
    if (!form) continue;
    const weight = parameters.find((parameter) => parameter.startsWith('q='))?.slice(2);
    const quality = weight === undefined ? 1 : Number(weight) || 0;
    if (quality > best.quality) best = { form, quality };
  }
  return best.form;
}

/** A client waits at most this long for an answer, whatever it prefers. */
const WAIT_LIMIT_S = 60;

/** `Prefer: wait=10` in ms: how long the client would wait for the VM to be ready (RFC 7240 §4.3); 0 without it. */
export function preferredWaitMs(prefer: string | undefined): number {
  const seconds = Number(/(?:^|[,;\s])wait\s*=\s*"?(\d{1,6})/i.exec(prefer ?? '')?.[1] ?? 0);
  return Math.min(seconds, WAIT_LIMIT_S) * 1000;
}

/** Whether the client says that it does not want to wait (RFC 7240 §4.1). */
export const prefersAsync = (prefer: string | undefined): boolean =>
  /(?:^|[,;\s])respond-async(?:$|[,;\s])/i.test(prefer ?? '');
