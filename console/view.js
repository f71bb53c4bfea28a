// One camera large: live or recorded, its timeline, what it does, and its settings.
'use strict';
import { ask, enc, get, save, send } from './api.js';
import { Player } from './player.js';
import { Recording } from './recording.js';
import { Timeline } from './timeline.js';
import { $, STATES, bitrate, clock, count, day, known, sentence, size, span, write, writeRows } from './words.js';

const SETTINGS = ['bitrate_kbps', 'width', 'height', 'fps', 'fragment_ms'];
// US East (N. Virginia), USD: what goes in, what is kept.
const PRICE_IN_GB = 0.0085;
const PRICE_KEPT_GB_MONTH = 0.023;
const MONTH_S = 30 * 86400;

const local = (ms) => new Date(ms - new Date(ms).getTimezoneOffset() * 60000).toISOString().slice(0, 19);

export class View {
  constructor(name, site) {
    Object.assign(this, { name, site, live: true, ends: new AbortController(), ticks: 0 });
    this.video = $('view-video');
    write($('view-name'), name);
    this.player = new Player(this.video, name, (playing, words) => this.live && this.tell(playing, words), true);
    this.recording = new Recording(this.video, name, (words) => !this.live && this.tell(!words, words), (ms) => this.after(ms));
    this.timeline = new Timeline($('timeline'), name, (ms) => this.seek(ms));
    this.listen();
    for (const radio of document.querySelectorAll('input[name="zoom"]')) if (radio.checked) this.timeline.zoom(Number(radio.value));
    $('speed').value = '1';
    this.say('');
    this.setMark(null);
    this.mode();
    this.refresh();
  }

  listen() {
    const on = (id, type, action) => $(id).addEventListener(type, action, { signal: this.ends.signal });
    const click = { 'go-live': () => this.goLive(), back10: () => this.seek(this.position() - 10000), on10: () => this.seek(this.position() + 10000),
      pause: () => this.pause(), earlier: () => this.timeline.pan(-0.5), later: () => this.timeline.pan(0.5),
      'mark-from': () => this.markAt(0), 'mark-to': () => this.markAt(1), 'mark-none': () => this.setMark(null),
      clip: () => this.clip(), snapshot: () => this.snapshot(), 'send-event': () => this.event(), 'send-upload': () => this.upload(),
      'as-configured': () => this.change(Object.fromEntries(SETTINGS.map((key) => [key, null]))) };
    for (const [id, action] of Object.entries(click)) on(id, 'click', action);
    on('speed', 'change', () => this.recording.setSpeed(Number($('speed').value)));
    on('when-form', 'submit', (event) => { event.preventDefault(); this.goTo(); });
    on('settings', 'submit', (event) => { event.preventDefault(); this.submit(); });
    on('streaming', 'change', () => this.change({ streaming: $('streaming').checked }));
    on('zooms', 'change', (event) => this.timeline.zoom(Number(event.target.value)));
  }

  close() {
    this.closed = true;
    clearTimeout(this.saying);
    this.ends.abort();
    if (this.download) this.download.abort();
    this.recording.close();
    this.timeline.close();
    this.player.want(false);
    this.player.close();
  }

  seen(yes) {
    if (this.live) this.player.want(yes && this.camera && this.camera.state !== 'off');
  }

  // ---- what is shown ----

  tell(playing, words) {
    $('view').classList.toggle('playing', playing);
    let text = words;
    if (this.live && this.camera && this.camera.state !== 'live') text = this.camera.state === 'off' ? 'This camera is off' : STATES[this.camera.state] || this.camera.state;
    write($('view-note'), sentence(text || ''));
  }

  mode() {
    $('view').classList.toggle('is-live', this.live);
    $('go-live').setAttribute('aria-pressed', String(this.live));
    $('speed').disabled = this.live;
    $('pause').disabled = this.live;
    write($('pause'), this.recording.paused ? 'Play' : 'Pause');
  }

  position() {
    if (!this.live) return this.recording.position();
    const delay = this.player.delay();
    return Date.now() - (known(delay) && delay < 60000 ? delay : 0);
  }

  goLive() {
    this.recording.close();
    this.recording.paused = false;
    this.live = true;
    this.video.playbackRate = 1;
    this.mode();
    this.tell(false, 'Waiting for video');
    this.player.want(false);
    this.player.want(Boolean(this.camera && this.camera.state !== 'off'));
    this.timeline.show(Date.now(), true);
  }

  seek(ms) {
    if (ms > Date.now() - 3000) {
      this.goLive();
      return;
    }
    const there = this.timeline.snap(ms);
    if (Number.isFinite(there) && there - ms > 2000) this.say(`Nothing is recorded at ${clock(ms)}; this is what follows.`);
    const at = Number.isFinite(there) ? there : ms;
    if (this.live) {
      this.live = false;
      this.player.want(false);
      this.recording.paused = false;
      this.recording.speed = Number($('speed').value);
      this.mode();
      this.tell(false, 'Opening the recording');
      this.recording.open(at);
    } else this.recording.seek(at);
    this.timeline.show(at, false);
  }

  after(ms) {
    const next = this.timeline.snap(ms + 500);
    if (ms > Date.now() - 15000 || !Number.isFinite(next)) this.goLive();
    else this.recording.open(next);
  }

  pause() {
    this.recording.setPaused(!this.recording.paused);
    this.mode();
  }

  goTo() {
    const ms = new Date($('when').value).getTime();
    if (Number.isNaN(ms)) this.say('Give a date and a time.');
    else {
      this.timeline.follows = false;
      this.seek(ms);
    }
  }

  key(event) {
    const actions = { ArrowLeft: () => this.seek(this.position() - 10000), ArrowRight: () => this.seek(this.position() + 10000), l: () => this.goLive(),
      ' ': () => !this.live && this.pause(), i: () => this.markAt(0), o: () => this.markAt(1), c: () => this.clip(), s: () => this.snapshot() };
    if (!actions[event.key] || (event.key === ' ' && event.target.matches('button, summary'))) return false;
    actions[event.key]();
    return true;
  }

  say(text) {
    write($('say'), text);
    clearTimeout(this.saying);
    this.saying = setTimeout(() => write($('say'), ''), 15000);
  }

  // ---- clips and pictures ----

  markAt(end) {
    const ms = Math.round(this.position());
    const mark = this.timeline.mark ? [...this.timeline.mark] : [ms, ms];
    mark[end] = ms;
    if (mark[0] > mark[1]) mark[1 - end] = ms;
    this.setMark(mark);
  }

  setMark(mark) {
    this.timeline.mark = mark;
    const whole = mark && mark[1] > mark[0];
    write($('marked'), !mark ? 'No part marked' : whole ? `${clock(mark[0])} – ${clock(mark[1])}, ${span(mark[1] - mark[0])}` : `From ${clock(mark[0])}; now mark the end`);
    $('clip').disabled = $('send-upload').disabled = !whole;
    $('mark-none').disabled = !mark;
    this.timeline.draw();
  }

  async clip() {
    const mark = this.timeline.mark;
    if (this.download) {
      this.download.abort();
      return;
    }
    if (!mark || mark[1] <= mark[0]) {
      this.say('Mark the beginning and the end first.');
      return;
    }
    const download = this.download = new AbortController();
    write($('clip'), 'Cancel');
    try {
      const reply = await ask(`api/cameras/${enc(this.name)}/clip.mp4?from=${mark[0]}&to=${mark[1]}`, { signal: download.signal });
      const reader = reply.body.getReader(), parts = [];
      let bytes = 0;
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        parts.push(part.value);
        bytes += part.value.length;
        this.say(`Loading the clip: ${size(bytes)}`);
      }
      save(new Blob(parts, { type: 'video/mp4' }), `${this.name}-${local(mark[0]).replace(/:/g, '-')}.mp4`);
      this.say(`The clip is saved: ${size(bytes)}.`);
    } catch (error) {
      this.say(sentence(error.name === 'AbortError' ? 'cancelled' : error.message));
      if (error.body && error.body.fits_to_ms > mark[0] && !this.closed) this.setMark([mark[0], error.body.fits_to_ms]);
    }
    this.download = null;
    write($('clip'), 'Save clip');
  }

  // The picture that is shown; if there is none, the service's.
  async snapshot() {
    const at = Math.round(this.position()), name = `${this.name}-${local(at).replace(/:/g, '-')}.jpg`;
    try {
      if (this.video.readyState > 1 && $('view').classList.contains('playing')) {
        const canvas = document.createElement('canvas');
        canvas.width = this.video.videoWidth;
        canvas.height = this.video.videoHeight;
        canvas.getContext('2d').drawImage(this.video, 0, 0);
        save(await new Promise((done) => { canvas.toBlob(done, 'image/jpeg', 0.92); }), name);
      } else save(await (await ask(`api/cameras/${enc(this.name)}/image.jpg?at=${at}`, { timeout: 40000 })).blob(), name);
      this.say('The picture is saved.');
    } catch (error) {
      this.say(sentence(error.message));
    }
  }

  // ---- switching, settings, modes ----

  async change(body) {
    try {
      this.take(await send('PATCH', `api/cameras/${enc(this.name)}`, body));
      this.say('Changed.');
    } catch (error) {
      this.say(sentence(error.message));
      $('streaming').checked = Boolean(this.camera && this.camera.streaming);
    }
  }

  submit() {
    const body = {};
    for (const key of SETTINGS) {
      const text = $(key).value.trim();
      const value = text === '' ? null : Math.round(Number(text) * (key === 'fragment_ms' ? 1000 : 1));
      if (value !== ((this.settings || {})[key] ?? null)) body[key] = value;
    }
    if (Object.keys(body).length) this.change(body);
    else this.say('Nothing to change.');
  }

  // The fields follow what is in force, but not under somebody's hands.
  take(answer) {
    if (this.closed) return;
    const control = answer.control || {};
    const same = JSON.stringify(control.settings) === JSON.stringify(this.settings);
    this.settings = control.settings || {};
    if (!same) for (const key of SETTINGS) $(key).value = this.settings[key] === undefined ? '' : String(this.settings[key] / (key === 'fragment_ms' ? 1000 : 1));
    write($('control'), sentence(control.problem || (control.connected ? 'connected to AWS IoT: the shadow may change these, too' : control.reason || '')));
  }

  async refresh() {
    try {
      this.take(await get(`api/cameras/${enc(this.name)}`));
      const { changes = [] } = await get(`api/cameras/${enc(this.name)}/history`);
      const list = changes.slice(-12).reverse();
      $('history-box').hidden = !list.length;
      writeRows($('history'), list.map((entry) => [`${day(entry.at_ms)} ${clock(entry.at_ms)}`, [STATES[entry.state] || entry.state, entry.reason].filter(Boolean).join(': ')]));
    } catch { /* the figures say what is wrong */ }
    if (this.keeps()) this.uploads();
  }

  keeps() {
    return this.camera && ['event', 'on-demand'].includes(this.camera.upload_mode);
  }

  async uploads() {
    try {
      const { uploads = [] } = await get(`api/cameras/${enc(this.name)}/uploads`);
      writeRows($('uploads'), uploads.slice(-5).reverse().map((it) => [`${clock(it.from_ms)} – ${clock(it.to_ms)}`, it.done ? 'sent' : it.over ? 'ended, not all of it was there' : 'being sent']));
    } catch { /* shown the next time */ }
  }

  async event() {
    try {
      await send('POST', `api/cameras/${enc(this.name)}/events`, {});
      this.say('The event is noted; its recording is sent.');
      this.uploads();
    } catch (error) { this.say(sentence(error.message)); }
  }

  async upload() {
    const [from_ms, to_ms] = this.timeline.mark;
    try {
      await send('POST', `api/cameras/${enc(this.name)}/uploads`, { from_ms, to_ms });
      this.say('The marked part is sent.');
      this.uploads();
    } catch (error) { this.say(sentence(error.message)); }
  }

  // ---- figures ----

  update(camera) {
    const was = this.camera && this.camera.state;
    this.camera = camera;
    $('view').dataset.state = camera.state;
    write($('view-word'), STATES[camera.state] || camera.state);
    if (was !== camera.state) $('view-icon').setAttribute('href', `#i-${STATES[camera.state] ? camera.state : 'failed'}`);
    write($('view-reason'), sentence(camera.state !== 'live' ? camera.reason || camera.stream_reason || '' : ''));
    if (document.activeElement !== $('streaming')) $('streaming').checked = Boolean(camera.streaming);
    $('modes').hidden = !this.keeps();
    $('send-event').hidden = camera.upload_mode !== 'event';
    if (!this.live) return;
    this.player.want(!document.hidden && camera.state !== 'off');
    if (was && was !== 'live' && camera.state === 'live') this.player.hurry();
    if (camera.state !== 'live') this.tell($('view').classList.contains('playing'), '');
  }

  tick() {
    this.ticks++;
    if (this.live) this.player.check();
    const at = this.position();
    this.timeline.show(at, this.live);
    const delay = this.live ? this.player.delay() : -1;
    const playing = $('view').classList.contains('playing');
    write($('view-time'), `${day(at)} ${clock(at)}${this.live && playing && known(delay) && delay < 6e5 ? ` · ${(delay / 1000).toFixed(1)} s behind${this.player.isLow ? ', low latency' : ''}` : ''}`);
    if (document.activeElement !== $('when') && at > 0) $('when').value = local(at);
    if (this.ticks % 5 === 0) this.refresh();
    if (this.camera) this.figures(this.camera);
  }

  figures(c) {
    const live = c.state === 'live';
    const expiry = (ms) => (ms > 1e12 ? `${span(ms - Date.now())} left` : '');
    writeRows($('facts'), [
      ['Picture', live && c.width > 0 ? `${c.width} × ${c.height}, ${Math.round(c.fps * 10) / 10} fps` : ''],
      ['Bit rate', live ? bitrate(c.bitrate_bps) : ''],
      ['Decision', sentence(c.decision || (c.mode === 'encoded' ? 'encoded here' : c.mode === 'passthrough' ? 'as the camera sends it' : ''))],
      ['Encoder', c.encoder], ['Audio', c.audio], ['Codec', c.codec], ['Source', c.source],
      ['Last stored', c.fragments_persisted > 0 && known(c.last_persisted_age_ms) ? `${span(c.last_persisted_age_ms)} ago` : ''],
      ['Stored since start', known(c.media_ms_persisted) ? `${span(c.media_ms_persisted)}, ${count(c.fragments_persisted || 0, 'fragment')}` : ''],
      ['Waiting in the spool', known(c.spool_bytes) ? size(c.spool_bytes) : ''],
      ['Spool trouble', c.spool_trouble],
      ['Frames lost', known(c.frames_dropped) ? c.frames_dropped.toLocaleString('en') : ''],
      ['Time to store', known(c.ack_latency_ms) ? `${Math.round(c.ack_latency_ms)} ms` : ''],
      ['Upload', c.stream_state === c.stream_reason ? c.stream_state : [c.stream_state, c.stream_reason].filter(Boolean).join(': ')],
      ['Certificate', expiry(c.certificate_expires_ms)],
      ['Credentials', expiry(c.credentials_expire_ms)],
      ['Restarts', known(c.restarts) ? String(c.restarts) : ''],
    ]);
    this.cost(c);
  }

  cost(c) {
    const bps = c.bitrate_bps > 0 ? c.bitrate_bps : 0;
    const hours = known(c.retention_hours) ? c.retention_hours : 24;
    const gb = (bps / 8) * MONTH_S / 1e9, kept = (bps / 8) * Math.min(hours * 3600, MONTH_S) / 1e9;
    write($('cost'), bps ? `$${(gb * PRICE_IN_GB + kept * PRICE_KEPT_GB_MONTH).toFixed(2)} a month` : 'Not known while nothing is sent');
    write($('cost-how'), `At AWS, if it always ran as now: ${gb.toFixed(0)} GB in at $${PRICE_IN_GB}, ${kept.toFixed(1)} GB kept (${hours} h) at $${PRICE_KEPT_GB_MONTH}. Prices of us-east-1; watching is extra. kvg-server costs nothing.`);
  }
}
