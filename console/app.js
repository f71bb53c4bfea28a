// The console: a grid of live cameras, one of them large. Polls the agent's API once a second.
// Nothing here gives up: every failure is shown in words and retried.
'use strict';
import { ask, send } from './api.js';
import { Tile, page } from './tile.js';
import { View } from './view.js';
import { $, STATES, bitrate, count, size, write } from './words.js';

const MANY = 12; // from here on a search field is worth its place
const POLL_MS = 1000;
const HIDDEN_MS = 30000; // an unseen page stops its players after this
const SITE_POLLS = 15;

const tiles = new Map(); // camera name -> Tile
let view = null;
let site = {};

// The camera shown large lives in the address, so that Back, reload and bookmarks work.
function large() {
  let name = '';
  try { name = decodeURIComponent(location.hash.slice(1)); } catch { /* no name of ours */ }
  return tiles.has(name) ? name : '';
}

function showView() {
  const name = large();
  if ((view ? view.name : '') === name) return;
  const before = view && view.name;
  if (view) view.close();
  view = name ? new View(name, () => site) : null;
  page.covered = Boolean(view);
  document.body.classList.toggle('large', page.covered);
  $('grid-page').hidden = page.covered;
  $('view').hidden = !page.covered;
  for (const tile of tiles.values()) tile.decide();
  if (view) {
    view.update(tiles.get(name).camera);
    $('view-name').focus({ preventScroll: true });
  } else if (tiles.has(before)) tiles.get(before).parts.open.focus();
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
  cameras.forEach((camera, i) => {
    let tile = tiles.get(camera.name);
    if (!tile) {
      tile = new Tile(camera.name);
      tiles.set(camera.name, tile);
    }
    const grid = $('grid');
    if (grid.children[i] !== tile.node) grid.insertBefore(tile.node, grid.children[i] || null);
    tile.update(camera);
    if (view && view.name === camera.name) view.update(camera);
  });
  if (document.body.dataset.count !== String(cameras.length)) {
    document.body.dataset.count = String(cameras.length);
  }
  showView();
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

let polls = 0;
async function poll() {
  try {
    const { cameras } = await (await ask('api/cameras', { timeout: 5000 })).json();
    show(cameras);
    reachable(true);
    if (polls++ % SITE_POLLS === 0) {
      site = await (await ask('api/site')).json().catch(() => ({}));
      showReload();
    }
  } catch (error) {
    if (error.status !== 401 && error.status !== 404) reachable(false);
  }
  for (const tile of tiles.values()) {
    tile.player.check();
    tile.figures();
  }
  if (view) view.tick();
  setTimeout(poll, POLL_MS);
}

// A configuration that was refused is said until it is put right.
function showReload() {
  const reload = site.reload;
  const bad = reload && reload.ok === false;
  $('notice').hidden = !bad;
  write($('notice'), bad ? `The changed configuration was refused and the one before stays in force. ${reload.message || ''}` : '');
}

function seen(yes) {
  page.seen = yes;
  for (const tile of tiles.values()) tile.decide();
  if (view) view.seen(yes);
}

let hiddenTimer = 0;
document.addEventListener('visibilitychange', () => {
  clearTimeout(hiddenTimer);
  if (document.hidden) hiddenTimer = setTimeout(() => seen(false), HIDDEN_MS);
  else seen(true);
});

// ---- token ----

document.addEventListener('kvg-token', () => {
  if (!$('token-dialog').open) $('token-dialog').showModal();
});
$('token-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  try {
    await send('POST', 'api/session', { token: $('token').value });
    $('token').value = '';
    $('token-dialog').close();
    write($('token-problem'), '');
  } catch (error) {
    write($('token-problem'), error.message);
  }
});

// ---- keys ----

const help = () => ($('help').open ? $('help').close() : $('help').showModal());
$('help-open').addEventListener('click', help);
$('view-help').addEventListener('click', help);
$('help-close').addEventListener('click', help);
$('view-back').addEventListener('click', () => { location.hash = ''; });

function step(by) {
  const names = [...tiles.keys()];
  location.replace(`#${encodeURIComponent(names[(names.indexOf(large()) + by + names.length) % names.length])}`);
}

document.addEventListener('keydown', (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || document.querySelector('dialog[open]')) return;
  const typing = event.target.matches('input, select, textarea');
  if (event.key === 'Escape' && view) location.hash = '';
  else if (event.key === 'Escape' && event.target === $('query')) {
    $('query').value = '';
    filter();
  } else if (typing) return;
  else if (event.key === '?') help();
  else if (event.key === '/' && !view && !$('find').hidden) $('query').focus();
  else if (view && (event.key === 'n' || event.key === 'p')) step(event.key === 'n' ? 1 : -1);
  else if (!view || !view.key(event)) return;
  event.preventDefault();
});

addEventListener('hashchange', showView);
$('query').addEventListener('input', filter);
poll();
