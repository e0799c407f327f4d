/** Keys under which sentences stand that others wrote, QEMU and the system among them. */
const SENTENCES = new Set(['reason', 'message']);

/**
 * A path of this host: a slash that begins a word. Those of a URL and of a subnet stand behind a host or a number, and stay.
 */
const HOST_PATH = /(?<![\w\]/.%-]|:(?=\/\/))\/[^\s'"`,;:()<>]+/g;

/**
 * An answer without the paths of the gateway's files: where it keeps them is the operator's to know, who has the sentence
 * whole in the log and in `orilla vm ls`.
 */
export function withoutHostPaths<Answer>(answer: Answer): Answer {
  return stripped(answer) as Answer;
}

function stripped(answer: unknown): unknown {
  if (Array.isArray(answer)) return answer.map(stripped);
  if (typeof answer !== 'object' || answer === null) return answer;
  const entries = Object.entries(answer).map(([key, value]) => [
    key,
    typeof value === 'string' && SENTENCES.has(key) ? value.replaceAll(HOST_PATH, '<path>') : stripped(value),
  ]);
  return Object.fromEntries(entries);
}
