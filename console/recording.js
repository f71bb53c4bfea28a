// Plays what is recorded, from one time on, half an hour at a time.
'use strict';

const WINDOW_MS = 30 * 60000;
const BEFORE_MS = 12000; // a fragment that began before the time wanted holds it

export class Recording {
  // `tell(words)`: '' when it plays; `ended(ms)`: nothing follows what was shown last.
  constructor(video, camera, tell, ended) {
    Object.assign(this, { video, camera, tell, ended, turn: 0, at: 0, speed: 1, paused: false });
    video.addEventListener('ended', () => this.hls && this.over());
    video.addEventListener('timeupdate', () => this.hls && video.readyState > 1 && this.tell(''));
  }

  close() {
    this.turn++;
    if (this.hls) this.hls.destroy();
    this.hls = null;
  }

  position() {
    const date = this.hls && this.hls.playingDate;
    if (date && this.ready) this.at = date.getTime();
    return this.at;
  }

  // Within what is loaded already, or anew.
  seek(ms) {
    const details = this.hls && this.hls.levels && this.hls.levels[0] && this.hls.levels[0].details;
    const spot = details && this.spot(details, ms);
    if (!spot || spot.off > 1000) return this.open(ms);
    this.at = ms;
    this.video.currentTime = spot.time;
    return undefined;
  }

  // Where `ms` is on the player's own timeline, and how far that is off.
  spot(details, ms) {
    let best = null;
    for (const fragment of details.fragments) {
      const start = fragment.programDateTime, end = start + fragment.duration * 1000;
      const inside = Math.min(Math.max(ms, start), end - 50);
      const off = Math.abs(ms - inside);
      if (!best || off < best.off) best = { off, time: fragment.start + (inside - start) / 1000 };
    }
    return best;
  }

  async open(ms) {
    this.close();
    const turn = this.turn;
    this.at = ms;
    this.ready = false;
    this.from = Math.round(ms) - BEFORE_MS;
    this.to = Math.min(this.from + WINDOW_MS, Date.now());
    this.tell('Opening the recording');
    const url = `play/${encodeURIComponent(this.camera)}/recorded.m3u8?from=${this.from}&to=${this.to}`;
    let words = '';
    try {
      const reply = await fetch(url, { cache: 'no-store', signal: AbortSignal.timeout(15000) });
      if (!reply.ok) words = reply.status === 404 ? 'Nothing is recorded at that time' : (await reply.json().catch(() => ({}))).message || `HTTP ${reply.status}`;
    } catch { words = 'The agent does not answer'; }
    if (turn !== this.turn) return;
    if (words || !window.Hls || !Hls.isSupported()) {
      this.tell(words || 'This browser cannot play recordings');
      return;
    }
    this.play(url, ms);
  }

  play(url, ms) {
    const hls = new Hls({ enableWorker: false, maxBufferLength: 20, backBufferLength: 30 });
    this.hls = hls;
    let mended = 0;
    hls.once(Hls.Events.LEVEL_LOADED, (_, { details }) => {
      const spot = this.spot(details, ms);
      const begin = () => {
        if (spot) this.video.currentTime = spot.time;
        this.ready = true;
        this.video.playbackRate = this.speed;
        if (!this.paused) this.video.play().catch(() => { /* superseded */ });
      };
      if (this.video.readyState > 0) begin();
      else this.video.addEventListener('loadedmetadata', begin, { once: true });
    });
    hls.on(Hls.Events.ERROR, (_, data) => {
      if (hls !== this.hls || !data.fatal) return;
      if (data.type === Hls.ErrorTypes.MEDIA_ERROR && performance.now() - mended > 5000) {
        mended = performance.now();
        hls.recoverMediaError();
        return;
      }
      const at = this.position();
      this.close();
      this.tell('The recording broke off; trying again');
      const turn = this.turn;
      setTimeout(() => turn === this.turn && this.open(at), 3000);
    });
    hls.loadSource(url);
    hls.attachMedia(this.video);
  }

  over() {
    const end = this.to;
    this.close();
    this.ended(end);
  }

  setSpeed(speed) {
    this.speed = speed;
    if (this.hls) this.video.playbackRate = speed;
  }

  setPaused(paused) {
    this.paused = paused;
    if (paused) this.video.pause();
    else this.video.play().catch(() => { /* superseded */ });
  }
}
