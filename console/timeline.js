// What is recorded, as a bar: ranges, gaps, the place that is shown, and a marked part.
'use strict';
import { enc, get } from './api.js';
import { clock, day, write } from './words.js';

const CHUNK_MS = 3600000;
const STEPS_MS = [60000, 300000, 600000, 900000, 1800000, 3600000, 7200000, 10800000, 21600000];
const AGAIN_MS = 5000; // the hour that grows
const OLD_MS = 300000; // others

export class Timeline {
  constructor(node, camera, seek) {
    Object.assign(this, { node, camera, seek, span: CHUNK_MS, end: Date.now(), follows: true, at: Date.now(), hours: new Map(), mark: null });
    this.part = (name) => node.querySelector(`.${name}`);
    const listen = (target, type, action) => target.addEventListener(type, action, { signal: this.ends.signal });
    this.ends = new AbortController();
    const bar = this.bar = this.part('bar');
    listen(bar, 'pointerdown', (event) => this.press(event));
    listen(bar, 'pointermove', (event) => this.drag && this.move(event));
    listen(bar, 'pointerup', (event) => this.release(event));
    listen(bar, 'pointercancel', () => { this.drag = null; this.draw(); });
    listen(bar, 'keydown', (event) => this.key(event));
    this.draw();
    this.load();
  }

  close() {
    this.ends.abort();
    this.closed = true;
    clearTimeout(this.timer);
  }

  zoom(span) {
    this.span = span;
    this.end = this.follows ? Date.now() : Math.min(this.at + span / 2, Date.now());
    this.draw();
    this.load();
  }

  pan(part) {
    this.end = Math.min(this.end + this.span * part, Date.now());
    this.follows = this.end > Date.now() - 2000;
    this.draw();
    this.load();
  }

  // The place that is shown; the window follows it.
  show(ms, live) {
    this.at = ms;
    if (live) this.follows = true;
    if (this.follows) this.end = Date.now();
    if (!this.follows && live === false && !this.drag && (ms > this.end || ms < this.end - this.span)) this.end = Math.min(ms + this.span / 2, Date.now());
    this.draw();
  }

  timeOf(event) {
    const box = this.bar.getBoundingClientRect();
    return this.end - this.span + Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * this.span;
  }

  press(event) {
    if (event.button !== 0) return;
    this.bar.setPointerCapture(event.pointerId);
    this.drag = { ms: this.timeOf(event) };
    this.follows = false;
    this.draw();
  }

  move(event) {
    this.drag.ms = this.timeOf(event);
    this.draw();
  }

  release(event) {
    if (!this.drag) return;
    const ms = this.timeOf(event);
    this.drag = null;
    this.seek(ms);
  }

  key(event) {
    const steps = { ArrowLeft: -10000, ArrowRight: 10000, PageUp: this.span / 6, PageDown: -this.span / 6 };
    if (event.key in steps) this.seek(this.at + steps[event.key]);
    else if (event.key === 'Home') this.seek(this.end - this.span);
    else if (event.key === 'End') this.seek(Date.now());
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // ---- what is recorded ----

  // One hour after the other, the newest first, so that a day appears while it loads.
  async load() {
    clearTimeout(this.timer);
    const turn = this.turn = (this.turn || 0) + 1;
    const last = Math.floor(this.end / CHUNK_MS);
    for (let hour = last; hour * CHUNK_MS + CHUNK_MS > this.end - this.span; hour--) {
      const known = this.hours.get(hour);
      const age = known ? Date.now() - known.asked : Infinity;
      const grows = Date.now() < hour * CHUNK_MS + CHUNK_MS + OLD_MS;
      if (age < (grows ? AGAIN_MS - 500 : OLD_MS)) continue;
      const from = hour * CHUNK_MS, to = from + CHUNK_MS;
      try {
        const { ranges } = await get(`api/cameras/${enc(this.camera)}/ranges?from=${from}&to=${to}`);
        this.hours.set(hour, { asked: Date.now(), ranges });
        this.problem = '';
      } catch (error) {
        this.problem = error.message;
        break;
      }
      if (this.closed || turn !== this.turn) return;
      this.draw();
    }
    while (this.hours.size > 200) this.hours.delete(this.hours.keys().next().value);
    if (this.closed || turn !== this.turn) return;
    this.draw();
    this.timer = setTimeout(() => this.load(), document.hidden ? 60000 : AGAIN_MS);
  }

  ranges() {
    const all = [...this.hours.values()].flatMap((hour) => hour.ranges).sort((a, b) => a[0] - b[0]);
    const out = [];
    for (const [start, end] of all) {
      const last = out[out.length - 1];
      if (last && start - last[1] <= 1000) last[1] = Math.max(last[1], end);
      else out.push([start, end]);
    }
    return out;
  }

  // The time itself if it is recorded, else where the recording goes on; NaN: nowhere known.
  snap(ms) {
    for (const [start, end] of this.ranges()) if (ms < end - 200) return Math.max(ms, start);
    return NaN;
  }

  // ---- picture ----

  draw() {
    const from = this.end - this.span;
    const place = (ms) => `${(((ms - from) / this.span) * 100).toFixed(3)}%`;
    const parts = [];
    const add = (name, ms, till, text) => {
      const node = document.createElement('span');
      node.className = name;
      node.style.left = place(ms);
      if (till !== undefined) node.style.width = `${Math.max(((till - ms) / this.span) * 100, 0.15).toFixed(3)}%`;
      if (text) node.textContent = text;
      parts.push(node);
    };
    let recorded = 0;
    for (const [start, end] of this.ranges()) {
      if (end <= from || start >= this.end) continue;
      const a = Math.max(start, from), b = Math.min(end, this.end);
      recorded += b - a;
      add('has', a, b);
    }
    if (this.mark && this.mark[1] > from && this.mark[0] < this.end) add('marked', Math.max(this.mark[0], from), Math.min(this.mark[1], this.end));
    const room = Math.max(this.bar.clientWidth / 84, 3);
    const step = STEPS_MS.find((ms) => this.span / ms <= room) || STEPS_MS[STEPS_MS.length - 1];
    const shift = new Date(from).getTimezoneOffset() * 60000;
    for (let ms = Math.ceil((from - shift) / step) * step + shift; ms < this.end; ms += step) add('tick', ms, undefined, clock(ms, false));
    const at = this.drag ? this.drag.ms : this.at;
    if (at >= from && at <= this.end + 1000) add(this.drag ? 'head dragged' : 'head', Math.min(at, this.end), undefined, this.drag ? clock(at) : '');
    this.bar.replaceChildren(...parts);
    this.bar.setAttribute('aria-valuemin', String(Math.round(from / 1000)));
    this.bar.setAttribute('aria-valuemax', String(Math.round(this.end / 1000)));
    this.bar.setAttribute('aria-valuenow', String(Math.round(Math.min(Math.max(at, from), this.end) / 1000)));
    this.bar.setAttribute('aria-valuetext', `${day(at)}, ${clock(at)}`);
    const share = Math.round((recorded / this.span) * 100);
    write(this.part('extent'), `${day(from)} ${clock(from, false)} – ${clock(this.end, false)}`);
    write(this.part('share'), this.problem || (recorded ? `${recorded && !share ? '< 1' : share} % recorded` : 'nothing recorded here'));
  }
}
