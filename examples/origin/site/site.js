// Two things: the lightbox, and the badge that says who serves this page. Without scripts the pictures are plain links.

const links = [...document.querySelectorAll('a[data-photo]')];
const lightbox = document.querySelector('#lightbox');
const image = lightbox.querySelector('img');
const caption = lightbox.querySelector('figcaption');
let shown = 0;

function show(index) {
  shown = (index + links.length) % links.length;
  const link = links[shown];
  image.src = link.href;
  image.alt = link.querySelector('img').alt;
  caption.textContent = `${link.querySelector('strong').textContent} (${shown + 1} of ${links.length})`;
}

for (const [index, link] of links.entries()) {
  link.addEventListener('click', (event) => {
    // With a modifier key the visitor wants a tab or a download of the picture itself.
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    show(index);
    lightbox.showModal();
  });
}

lightbox.querySelector('.previous').addEventListener('click', () => show(shown - 1));
lightbox.querySelector('.next').addEventListener('click', () => show(shown + 1));
lightbox.querySelector('.close').addEventListener('click', () => lightbox.close());
lightbox.addEventListener('keydown', (event) => {
  if (event.key === 'ArrowLeft') show(shown - 1);
  if (event.key === 'ArrowRight') show(shown + 1);
});
// The picture itself and the arrows stay; a click beside them closes.
lightbox.addEventListener('click', (event) => {
  if (event.target === lightbox || event.target.tagName === 'FIGURE') lightbox.close();
});
// Back to the picture that was looked at last, which need not be the one that was opened.
lightbox.addEventListener('close', () => links[shown].focus());

const LOOK_EVERY_MS = 4000;
const GIVE_UP_MS = 10_000;
const badge = document.querySelector('.badge');
const servedBy = document.querySelector('#served-by');
const servedIn = document.querySelector('#served-in');

/** What the gateway says of an answer: `origin`, `vm/photos`, or nothing when no gateway is in between. */
function describe(server) {
  if (server === null) return { place: 'direct', text: 'Served directly' };
  if (server.startsWith('vm/')) return { place: 'edge', text: `Served by: ${server} at the edge` };
  return { place: 'origin', text: `Served by: ${server}` };
}

async function look() {
  const startedMs = performance.now();
  let found = { place: 'unknown', text: 'No answer' };
  let took = '';
  try {
    // A HEAD of this page: the smallest request that takes the page's own way.
    const response = await fetch(location.href, {
      method: 'HEAD',
      cache: 'no-store',
      signal: AbortSignal.timeout(GIVE_UP_MS),
    });
    found = describe(response.headers.get('Orilla-Served-By'));
    took = `${Math.max(1, Math.round(performance.now() - startedMs))} ms`;
  } catch {
    // Out of reach for now: the badge says so, and the next look tells more.
  }
  badge.dataset.place = found.place;
  // Written only when it changes, so that it is announced only then.
  if (servedBy.textContent !== found.text) servedBy.textContent = found.text;
  servedIn.textContent = took;
}

async function keepLooking() {
  if (document.visibilityState === 'visible') await look();
  setTimeout(keepLooking, LOOK_EVERY_MS);
}

await keepLooking();
