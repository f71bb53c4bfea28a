// One camera of the grid.
'use strict';
import { Player } from './player.js';
import { $, STATES, bitrate, known, sentence, size, span, write, writeParts } from './words.js';

// Whether anybody looks at the page, and whether the single view covers the grid.
export const page = { seen: true, covered: false };
const mine = new WeakMap();

const onScreen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const tile = mine.get(entry.target);
    if (!tile) continue;
    tile.inView = entry.isIntersecting;
    tile.decide();
  }
}, { rootMargin: '120px' });

export class Tile {
  constructor(name) {
    this.name = name;
    this.node = $('tile').content.firstElementChild.cloneNode(true);
    this.node.dataset.camera = name;
    this.part = (className) => this.node.querySelector(className);
    this.parts = {};
    for (const key of ['cover', 'note', 'open', 'name', 'word', 'reason', 'numbers', 'stored']) this.parts[key] = this.part(`.${key}`);
    this.use = this.part('.state use');
    this.video = this.part('video');
    this.video.muted = true;
    write(this.parts.name, name);
    this.parts.name.title = name;
    this.parts.open.addEventListener('click', () => { location.hash = encodeURIComponent(name); });
    this.parts.open.setAttribute('aria-label', `${name}: enlarge`);
    this.player = new Player(this.video, name, (playing, words) => {
      this.words = words;
      this.node.classList.toggle('playing', playing);
      this.cover();
    });
    this.inView = false;
    onScreen.observe(this.node);
    mine.set(this.node, this);
  }

  remove() {
    onScreen.unobserve(this.node);
    this.player.want(false);
    this.node.remove();
  }

  // A player costs a decoder: only cameras that are on and can be seen have one.
  decide() {
    const seen = page.seen && !page.covered && this.inView && !this.node.hidden;
    this.player.want(Boolean(seen && this.camera && this.camera.state !== 'off'));
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
  }
}
