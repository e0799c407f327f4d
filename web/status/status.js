// Draws the status page from /api/v1/status, again every two seconds while the page is seen.

/** @typedef {import('../../src/edge/schema.ts').Status} Status */

const REFRESH_MS = 2000;

/** How a VM's phase is said, and in which tone. */
const PHASES = /** @type {const} */ ({
  fetching: ['fetching its image', 'wait'],
  starting: ['starting', 'wait'],
  ready: ['ready', 'edge'],
  suspending: ['being suspended', 'wait'],
  suspended: ['suspended', 'wait'],
  waiting: ['waiting to start again', 'wait'],
  failed: ['failed', 'fail'],
  stopping: ['stopping', 'wait'],
});

/** How the machine of a VM came to be. */
const ORIGINS = /** @type {const} */ ({
  boot: 'booted',
  clone: 'clone',
  warm: 'warm clone',
  saved: 'resumed',
});

/**
 * @param {string} tag
 * @param {Record<string, string>} attributes
 * @param {...(Node | string)} children
 */
function element(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** @param {number} value */
const count = (value) => value.toLocaleString('en').replaceAll(',', '\u202F');

/** @param {number} sizeBytes */
function bytes(sizeBytes) {
  let value = sizeBytes;
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (value < 1024) return `${value.toFixed(unit === 'B' ? 0 : 1)} ${unit}`;
    value /= 1024;
  }
  return `${value.toFixed(1)} TiB`;
}

/** @param {number} durationMs */
function duration(durationMs) {
  if (durationMs < 1000) return `${Math.round(durationMs)} ms`;
  if (durationMs < 120_000) return `${(durationMs / 1000).toFixed(1)} s`;
  if (durationMs < 7_200_000) return `${Math.round(durationMs / 60_000)} min`;
  return `${(durationMs / 3_600_000).toFixed(1)} h`;
}

/** @param {number | undefined} durationMs */
const milliseconds = (durationMs) => (durationMs === undefined ? '–' : `${durationMs.toFixed(1)} ms`);

/** @param {string} term @param {string} value */
const row = (term, value) => [element('dt', {}, term), element('dd', {}, value)];

/** @param {Status['origins'][number]} origin */
function originCard(origin) {
  const isAtEdge = origin.servedBy[0] !== 'origin';
  const total = origin.requests.origin + origin.requests.vm + origin.requests.gateway;
  const share = total === 0 ? 0 : Math.round((100 * origin.requests.vm) / total);
  const bar = element('div', {
    class: 'share',
    role: 'img',
    'aria-label': `${share} % of requests served at the edge`,
  });
  const filled = element('span', {});
  filled.style.width = `${share}%`;
  bar.append(filled);
  return element(
    'li',
    { class: 'card' },
    element(
      'h3',
      {},
      origin.name,
      element(
        'span',
        { class: 'badge', 'data-tone': isAtEdge ? 'edge' : '' },
        `served by ${origin.servedBy.join(', ')}`,
      ),
    ),
    element('p', {}, `${origin.hosts.join(', ')} → ${origin.upstream}`),
    bar,
    element(
      'dl',
      {},
      ...row('Requests served at the edge', `${count(origin.requests.vm)} (${share} %)`),
      ...row('Requests served by the origin', count(origin.requests.origin)),
      ...row('Requests nobody could serve', count(origin.requests.gateway)),
      ...row('Passed from a failed VM to the origin', count(origin.replays)),
      ...row(
        'Time to first byte, edge / origin',
        `${milliseconds(origin.firstByteMs.vm)} / ${milliseconds(origin.firstByteMs.origin)}`,
      ),
      ...row('Bytes kept at the edge', bytes(origin.bytes.vm)),
      ...row('Bytes to and from the origin', bytes(origin.bytes.origin)),
    ),
  );
}

/** @param {Status['vms'][number]} vm @returns {readonly [string, string]} */
function phaseOf({ phase, suspendedBy, progress }) {
  // It wakes by itself, unlike one that the operator suspended.
  if (phase === 'suspended' && suspendedBy === 'idleness') return ['asleep', ''];
  if (phase !== 'fetching' || !progress?.totalBytes) return PHASES[phase];
  return [`fetching its image, ${Math.floor((100 * progress.doneBytes) / progress.totalBytes)} %`, 'wait'];
}

/** What went wrong. @param {Status['vms'][number]} vm @returns {string[]} */
function reasonsOf({ reason, failedVersion }) {
  const ofVersion = failedVersion && `version ${failedVersion.version} failed: ${failedVersion.reason}`;
  return [reason, ofVersion].filter((words) => words !== undefined);
}

/** What runs in it beside what it is, and what is on its way. @param {Status['vms'][number]} vm */
function changesOf({ application, deployment, next }) {
  return [
    ...(application ? row('Application', `${application.name} ${application.version}`) : []),
    ...(deployment ? row('Next application', deployment.applicationRef || 'none') : []),
    ...(next ? row(`Version ${next.version}`, PHASES[next.phase][0]) : []),
  ];
}

/** @param {Status['vms'][number]} vm @param {Status} status */
function vmCard(vm, status) {
  const [said, tone] = phaseOf(vm);
  const host = `${vm.name}.${status.edgeDomain}`;
  const authority = status.gatewayPort === 80 ? host : `${host}:${status.gatewayPort}`;
  return element(
    'li',
    { class: 'card' },
    element('h3', {}, vm.name, element('span', { class: 'badge', 'data-tone': tone }, said)),
    element('p', {}, 'for ', vm.owner, ' at ', element('a', { href: `http://${authority}/` }, authority)),
    ...reasonsOf(vm).map((reason) => element('p', { class: 'reason' }, reason)),
    element(
      'dl',
      {},
      ...row('In this phase for', duration(Date.now() - vm.sinceMs)),
      ...(vm.lastStart
        ? [
            ...row('Last start', `${duration(vm.lastStart.totalMs)}, ${ORIGINS[vm.lastStart.origin]}`),
            ...row('of which image', duration(vm.lastStart.fetchMs)),
            ...row('of which preparation', duration(vm.lastStart.prepareMs)),
            ...row('of which start', duration(vm.lastStart.bootMs)),
          ]
        : []),
      ...changesOf(vm),
      ...row('Started again', `${count(vm.restarts)} times`),
      ...row('Resources', `${vm.configuration.cpus} CPU, ${bytes(vm.configuration.memoryBytes)}`),
      ...(vm.accelerator ? row('Accelerator', vm.accelerator.toUpperCase()) : []),
      ...row('Image', vm.imageDigest?.slice(7, 19) ?? '–'),
    ),
  );
}

/** @param {string} id @param {readonly Node[]} cards @param {string} empty */
function fill(id, cards, empty) {
  const place = document.getElementById(id);
  // What has the focus is not drawn anew under the user's fingers.
  if (!place || (place.contains(document.activeElement) && place.hasChildNodes())) return;
  place.replaceChildren(
    cards.length > 0 ? element('ul', { class: 'cards' }, ...cards) : element('p', { class: 'empty' }, empty),
  );
}

/** @param {Status} status */
function draw(status) {
  fill(
    'origins',
    status.origins.map(originCard),
    'No site passes through this gateway yet: add one with "orilla origin add", or name it in orilla.yaml.',
  );
  fill(
    'vms',
    status.vms.map((vm) => vmCard(vm, status)),
    'No VM yet: an origin that sees the tag of this gateway asks for one.',
  );
  say(
    `${status.ready ? 'up' : 'not ready'} since ${new Date(status.startedAtMs).toLocaleTimeString()}`,
    !status.ready,
  );
  const version = document.getElementById('version');
  if (version) version.textContent = `Orilla ${status.version}`;
}

/** @param {string} text @param {boolean} isLost */
function say(text, isLost) {
  const state = document.getElementById('state');
  if (!state) return;
  // Only a change is announced to those who listen to the page.
  if (state.textContent !== text) state.textContent = text;
  state.toggleAttribute('data-lost', isLost);
}

async function refresh() {
  try {
    if (document.visibilityState === 'visible') {
      const answer = await fetch('/api/v1/status', { signal: AbortSignal.timeout(5000) });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      draw(/** @type {Status} */ (await answer.json()));
    }
  } catch {
    say('This Orilla does not answer; what is below may be old.', true);
  } finally {
    setTimeout(refresh, REFRESH_MS);
  }
}

await refresh();
