// The console: a grid of live cameras. Polls the agent's API once a second and keeps one HLS
// player per camera in view. Nothing here gives up: every failure is shown in words and retried.
'use strict';

const STATES = {
  off: 'Off', connecting: 'Connecting', live: 'Live', stalled: 'Stalled', backoff: 'Waiting to retry', failed: 'Failed',
};
const MANY = 12; // from here on a search field is worth its place
const POLL_MS = 1000;
const STUCK_MS = 8000; // a player that shows no new picture for so long is built anew
const HIDDEN_MS = 30000; // an unseen page stops its players after this

const $ = (id) => document.getElementById(id);
const tiles = new Map(); // camera name -> Tile
let pageSeen = true;

// ---- words -------------------------------------------------------------------------------

function bitrate(bps) {
  if (!(bps > 0)) return '';
  return bps < 999500 ? `${Math.round(bps / 1000)} kbit/s` : `${(bps / 1e6).toFixed(1)} Mbit/s`;
}

function size(bytes) {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let unit = 0;
  for (; bytes >= 1000 && unit < units.length - 1; unit++) bytes /= 1000;
  return `${unit && bytes < 100 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 100) return `${s} s`;
  if (s < 6000) return `${Math.round(s / 60)} min`;
  return s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} days`;
}

const known = (value) => typeof value === 'number' && value >= 0;
const count = (n, noun) => `${n.toLocaleString('en')} ${noun}${n === 1 ? '' : 's'}`;
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// Writes only what changed: the page stays still for eyes and for screen readers.
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function writeParts(node, parts) { // parts: strings, or [string, class]
  const wanted = parts.filter((part) => part && part[0]);
  while (node.children.length > wanted.length) node.lastChild.remove();
  wanted.forEach((part, i) => {
    const [text, name] = Array.isArray(part) ? part : [part, ''];
    const child = node.children[i] || node.appendChild(document.createElement('span'));
    write(child, text);
    if (child.className !== name) child.className = name;
  });
}

// ---- player ------------------------------------------------------------------------------

// Keeps a <video> on the live edge of one playlist for as long as it is wanted.
class Player {
  constructor(video, url, changed) {
    this.video = video;
    this.url = url;
    this.changed = changed; // called with (playing, words)
    this.wanted = false;
    this.failures = 0;
    this.turn = 0; // answers that belong to an earlier attempt are ignored
    video.addEventListener('timeupdate', () => this.progress());
  }

  want(wanted) {
    if (wanted === this.wanted) return;
    this.wanted = wanted;
    this.failures = 0;
    if (wanted) this.open();
    else this.close();
  }

  // Something got better elsewhere: do not sit out a long pause.
  hurry() {
    if (!this.timer) return;
    this.failures = 0;
    this.open();
  }

  close() {
    this.turn++;
    clearTimeout(this.timer);
    this.timer = 0;
    this.native = false;
    if (this.hls) this.hls.destroy();
    this.hls = null;
    this.video.removeAttribute('src');
    this.video.load();
    this.changed(false, '');
  }

  async open() {
    this.close();
    const turn = this.turn;
    this.lastTime = -1;
    this.lastMove = performance.now();
    this.changed(false, 'Waiting for video');
    let words = 'The agent does not answer';
    try { // The proxy says why there is no video; hls.js would hide the words.
      const reply = await fetch(this.url, { cache: 'no-store', signal: AbortSignal.timeout(15000) });
      const problem = reply.ok ? null : await reply.json().catch(() => ({}));
      if (problem) words = problem.message || `No video yet (HTTP ${reply.status})`;
      else words = '';
    } catch { /* words already say it */ }
    if (turn !== this.turn) return;
    if (words) this.retry(words);
    else if (window.Hls && Hls.isSupported()) this.playWithHls(turn);
    else if (this.video.canPlayType('application/vnd.apple.mpegurl')) this.playNatively(turn);
    else this.changed(false, 'This browser cannot play live video');
  }

  retry(words) {
    this.close();
    const pause = Math.min(1000 * 2 ** this.failures++, 10000) * (0.75 + Math.random() / 2);
    this.changed(false, words);
    this.timer = setTimeout(() => this.open(), pause);
  }

  playWithHls(turn) {
    const hls = new Hls({
      liveSyncDurationCount: 1, liveMaxLatencyDurationCount: 4, maxLiveSyncPlaybackRate: 1.2,
      liveDurationInfinity: true, backBufferLength: 10, maxBufferLength: 10,
      enableWorker: false, // fragmented MP4 passes through unchanged: a worker would only cost
    });
    this.hls = hls;
    this.mended = 0;
    hls.on(Hls.Events.ERROR, (_, data) => {
      if (turn !== this.turn || !data.fatal) return;
      const now = performance.now();
      if (data.type === Hls.ErrorTypes.MEDIA_ERROR && now - this.mended > 5000) {
        this.mended = now;
        hls.recoverMediaError();
        this.play();
        return;
      }
      this.retry(data.type === Hls.ErrorTypes.MEDIA_ERROR ? 'The video cannot be decoded; trying again'
        : 'The video broke off; trying again');
    });
    hls.on(Hls.Events.MANIFEST_PARSED, () => this.play());
    hls.loadSource(this.url);
    hls.attachMedia(this.video);
  }

  playNatively(turn) {
    this.native = true;
    this.video.onerror = () => {
      if (turn === this.turn && this.native) this.retry('The video broke off; trying again');
    };
    this.video.src = this.url;
    this.play();
  }

  play() {
    this.video.muted = true;
    this.video.play().catch(() => { /* superseded, or the watchdog builds it anew */ });
  }

  progress() {
    const time = this.video.currentTime;
    if (!this.wanted || time === this.lastTime || this.video.readyState < 2) return;
    const moved = this.lastTime >= 0 && time > this.lastTime;
    this.lastTime = time;
    this.lastMove = performance.now();
    if (!moved) return;
    this.failures = 0;
    this.changed(true, '');
  }

  // Once a second: mends what reports no error, a player that merely stands still.
  check() {
    if (!this.hls && !this.native) return;
    const still = performance.now() - this.lastMove;
    if (still > STUCK_MS) this.retry('No new pictures; trying again');
    else if (still > STUCK_MS / 4 && this.video.paused) this.play();
  }

  // How far the picture is behind the camera's clock, in ms, or -1.
  delay() {
    if (this.hls && this.hls.playingDate) return Math.max(0, Date.now() - this.hls.playingDate.getTime());
    const start = this.native && this.video.getStartDate ? this.video.getStartDate().getTime() : NaN;
    return Number.isNaN(start) ? -1 : Math.max(0, Date.now() - start - this.video.currentTime * 1000);
  }
}

// ---- one camera --------------------------------------------------------------------------

const onScreen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const tile = tiles.get(entry.target.dataset.camera);
    if (!tile) continue;
    tile.inView = entry.isIntersecting;
    tile.decide();
  }
}, { rootMargin: '120px' });

class Tile {
  constructor(name) {
    this.name = name;
    this.node = $('tile').content.firstElementChild.cloneNode(true);
    this.node.dataset.camera = name;
    this.part = (className) => this.node.querySelector(className);
    this.parts = {};
    for (const key of ['cover', 'note', 'open', 'name', 'word', 'reason', 'numbers', 'stored', 'more']) this.parts[key] = this.part(`.${key}`);
    this.use = this.part('.state use');
    this.video = this.part('video');
    this.video.muted = true;
    write(this.parts.name, name);
    this.parts.name.title = name;
    this.parts.open.addEventListener('click', () => enlarge(large() === this.name ? '' : this.name));
    this.player = new Player(this.video, `play/${encodeURIComponent(name)}/live.m3u8`, (playing, words) => {
      this.words = words;
      this.node.classList.toggle('playing', playing);
      this.cover();
    });
    this.inView = false;
    onScreen.observe(this.node);
    this.label();
  }

  remove() {
    onScreen.unobserve(this.node);
    this.player.want(false);
    this.node.remove();
  }

  label() {
    const isLarge = large() === this.name;
    this.node.classList.toggle('large', isLarge);
    this.parts.open.setAttribute('aria-label', isLarge ? `${this.name}: back to all cameras` : `${this.name}: enlarge`);
  }

  // A player costs a decoder: only cameras that are on and can be seen have one.
  decide() {
    const name = large();
    const seen = name ? name === this.name : this.inView && !this.node.hidden;
    this.player.want(Boolean(pageSeen && seen && this.camera && this.camera.state !== 'off'));
  }

  cover() {
    const camera = this.camera;
    let words = this.words || 'Paused';
    if (camera && camera.state !== 'live') words = STATES[camera.state] || camera.state;
    if (camera && camera.state === 'off') words = 'This camera is off';
    write(this.parts.note, sentence(words));
  }

  update(camera) {
    const was = this.camera && this.camera.state;
    this.camera = camera;
    this.node.dataset.state = camera.state;
    write(this.parts.word, STATES[camera.state] || camera.state);
    if (was !== camera.state) this.use.setAttribute('href', `#i-${STATES[camera.state] ? camera.state : 'failed'}`);
    const reason = camera.state !== 'live' ? camera.reason || camera.stream_reason || '' : '';
    write(this.parts.reason, sentence(reason));
    this.parts.reason.hidden = !reason;
    this.cover();
    this.decide();
    if (was && was !== 'live' && camera.state === 'live') this.player.hurry();
    this.figures();
  }

  // The lines that change every second.
  figures() {
    const c = this.camera;
    if (!c) return;
    const live = c.state === 'live';
    const delay = this.node.classList.contains('playing') ? this.player.delay() : -1;
    writeParts(this.parts.numbers, [
      live && c.width > 0 ? `${c.width}\u2009×\u2009${c.height}` : '',
      live && c.fps > 0 ? `${Math.round(c.fps * 10) / 10} fps` : '',
      live ? bitrate(c.bitrate_bps) : '',
      known(delay) && delay < 6e5 ? `${(delay / 1000).toFixed(1)} s behind` : '',
    ]);
    const age = c.last_persisted_age_ms;
    const stored = c.fragments_persisted > 0 && known(age);
    writeParts(this.parts.stored, [
      [stored ? `Last stored ${span(age)} ago` : c.state === 'off' ? '' : 'Nothing stored yet', stored && live && age > 15000 ? 'late' : ''],
      c.spool_bytes > 0 && (age > 5000 || c.spool_bytes > 4e6) ? [`${size(c.spool_bytes)} waiting on disk`, 'late'] : '',
      c.mode === 'encoded' ? 'Encoded here' : c.mode === 'passthrough' ? 'As the camera sends it' : '',
    ]);
    if (large() === this.name) this.details();
  }

  details() {
    const c = this.camera;
    const rows = [
      ['Source', c.source],
      ['Codec', c.codec],
      ['Stored', known(c.media_ms_persisted) ? `${span(c.media_ms_persisted)} in ${count(c.fragments_persisted || 0, 'fragment')}` : ''],
      ['Sent', known(c.bytes) ? size(c.bytes) : ''],
      ['Frames', known(c.frames) ? c.frames.toLocaleString('en') : ''],
      ['Frames lost', known(c.frames_dropped) ? c.frames_dropped.toLocaleString('en') : ''],
      ['Time to store', known(c.ack_latency_ms) ? `${Math.round(c.ack_latency_ms)} ms` : ''],
      ['Waiting on disk', known(c.spool_bytes) ? size(c.spool_bytes) : ''],
      ['Stream', [c.stream_state, c.stream_reason].filter(Boolean).join(': ')],
      ['Credentials', c.credentials_expire_ms > 1e12 ? `valid for ${span(c.credentials_expire_ms - Date.now())}`
        : c.credentials_expire_ms > 0 ? `valid for ${span(c.credentials_expire_ms)}` : ''],
      ['Restarts', known(c.restarts) ? String(c.restarts) : ''],
    ].filter((row) => row[1]);
    const list = this.parts.more;
    while (list.children.length > rows.length) list.lastChild.remove();
    rows.forEach(([term, text], i) => {
      let row = list.children[i];
      if (!row) {
        row = list.appendChild(document.createElement('div'));
        row.append(document.createElement('dt'), document.createElement('dd'));
      }
      write(row.firstChild, term);
      write(row.lastChild, text);
    });
  }
}

// ---- the page ----------------------------------------------------------------------------

// The camera shown large lives in the address, so that Back, reload and bookmarks work.
function large() {
  const name = decodeURIComponent(location.hash.slice(1));
  return tiles.has(name) ? name : '';
}

function enlarge(name) {
  if (name) location.hash = encodeURIComponent(name);
  else history.replaceState(null, '', location.pathname + location.search);
  showLarge();
}

function showLarge() {
  const name = large();
  const before = document.querySelector('.tile.large');
  document.body.classList.toggle('large', Boolean(name));
  for (const tile of tiles.values()) {
    tile.node.inert = Boolean(name) && tile.name !== name;
    tile.label();
    tile.decide();
    tile.figures();
  }
  document.querySelector('.top').inert = Boolean(name);
  if (name) tiles.get(name).parts.open.focus({ preventScroll: true });
  else if (before) before.querySelector('.open').focus();
  document.title = name ? `${name} · kvg` : 'kvg';
}

function filter() {
  const many = tiles.size > MANY;
  $('find').hidden = !many;
  const query = many ? $('query').value.trim().toLowerCase() : '';
  let shown = 0;
  for (const tile of tiles.values()) {
    const c = tile.camera;
    const text = c ? `${tile.name} ${STATES[c.state] || c.state} ${c.reason || ''}`.toLowerCase() : '';
    const fits = text.includes(query);
    if (tile.node.hidden === fits) {
      tile.node.hidden = !fits;
      tile.decide();
    }
    shown += fits ? 1 : 0;
  }
  $('empty').hidden = shown > 0;
  write($('empty'), tiles.size ? 'No camera fits this search.' : 'No cameras yet. Add one to the configuration file and it appears here.');
}

function show(cameras) {
  const names = new Set(cameras.map((camera) => camera.name));
  for (const [name, tile] of tiles) {
    if (names.has(name)) continue;
    tile.remove();
    tiles.delete(name);
  }
  let changed = false;
  cameras.forEach((camera, i) => {
    let tile = tiles.get(camera.name);
    if (!tile) {
      tile = new Tile(camera.name);
      tiles.set(camera.name, tile);
      changed = true;
    }
    const grid = $('grid');
    if (grid.children[i] !== tile.node) grid.insertBefore(tile.node, grid.children[i] || null);
    tile.update(camera);
  });
  if (document.body.dataset.count !== String(cameras.length)) {
    document.body.dataset.count = String(cameras.length);
    changed = true;
  }
  if (changed) showLarge();
  filter();
  summarise(cameras);
}

function summarise(cameras) {
  const inState = (state) => cameras.filter((camera) => camera.state === state).length;
  const troubled = cameras.length - inState('live') - inState('off');
  const rate = cameras.reduce((sum, camera) => sum + (camera.state === 'live' ? camera.bitrate_bps || 0 : 0), 0);
  const waiting = cameras.reduce((sum, camera) => sum + (camera.spool_bytes || 0), 0);
  write($('summary'), [
    count(cameras.length, 'camera'), `${inState('live')} live`,
    troubled ? `${troubled} not live` : '', inState('off') ? `${inState('off')} off` : '',
    bitrate(rate), waiting > 2e7 ? `${size(waiting)} waiting` : '',
  ].filter(Boolean).join(' · '));
}

function reachable(yes) {
  document.body.classList.toggle('stale', !yes);
  if ($('banner').hidden === yes) return;
  $('banner').hidden = yes;
  $('banner').replaceChildren();
  if (yes) return;
  const words = document.createElement('span');
  words.textContent = 'Agent unreachable, trying again';
  $('banner').append(words);
}

async function poll() {
  try {
    const reply = await fetch('api/cameras', { cache: 'no-store', signal: AbortSignal.timeout(5000) });
    if (!reply.ok) throw new Error(`HTTP ${reply.status}`);
    const { cameras } = await reply.json();
    show(cameras);
    reachable(true);
  } catch {
    reachable(false);
  }
  for (const tile of tiles.values()) {
    tile.player.check();
    tile.figures();
  }
  setTimeout(poll, POLL_MS);
}

function seen(yes) {
  pageSeen = yes;
  for (const tile of tiles.values()) tile.decide();
}

let hiddenTimer = 0;
document.addEventListener('visibilitychange', () => {
  clearTimeout(hiddenTimer);
  if (document.hidden) hiddenTimer = setTimeout(() => seen(false), HIDDEN_MS);
  else seen(true);
});

document.addEventListener('keydown', (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const name = large();
  if (event.key === 'Escape' && name) enlarge('');
  else if (event.key === 'Escape' && event.target === $('query')) $('query').value = '';
  else if (event.key === '/' && !name && !$('find').hidden && event.target !== $('query')) $('query').focus();
  else if (name && (event.key === 'ArrowRight' || event.key === 'ArrowLeft')) {
    const names = [...tiles.keys()];
    const step = event.key === 'ArrowRight' ? 1 : names.length - 1;
    location.replace(`#${encodeURIComponent(names[(names.indexOf(name) + step) % names.length])}`);
  } else return;
  event.preventDefault();
  filter();
});

addEventListener('hashchange', showLarge);
$('query').addEventListener('input', filter);
poll();
