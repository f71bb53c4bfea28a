// Live pictures.
'use strict';

const STUCK_MS = 8000; // a player that shows no new picture for so long is built anew
let lowOffered = true; // low latency: no service but kvg-server has it

// Keeps a <video> on the live edge of one playlist for as long as it is wanted.
export class Player {
  // `low`: with low latency, where it is offered.
  constructor(video, camera, changed, low = false) {
    this.video = video;
    this.folder = `play/${encodeURIComponent(camera)}/`;
    this.low = low;
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
    let words = '';
    this.isLow = this.low && lowOffered && Boolean(window.Hls && Hls.isSupported());
    if (this.isLow) {
      const { status } = await this.ask('low.m3u8');
      if (status === 501) lowOffered = false;
      this.isLow = status === 200;
    }
    if (turn !== this.turn) return;
    if (!this.isLow) ({ words } = await this.ask('live.m3u8'));
    this.url = `${this.folder}${this.isLow ? 'low' : 'live'}.m3u8`;
    if (turn !== this.turn) return;
    if (words) this.retry(words);
    else if (window.Hls && Hls.isSupported()) this.playWithHls(turn);
    else if (this.video.canPlayType('application/vnd.apple.mpegurl')) this.playNatively(turn);
    else this.changed(false, 'This browser cannot play live video');
  }

  // The agent says why there is no video; hls.js would hide the words.
  async ask(file) {
    try {
      const reply = await fetch(this.folder + file, { cache: 'no-store', signal: AbortSignal.timeout(15000) });
      const problem = reply.ok ? null : await reply.json().catch(() => ({}));
      return { status: reply.status, words: problem ? problem.message || `No video yet (HTTP ${reply.status})` : '' };
    } catch {
      return { status: 0, words: 'The agent does not answer' };
    }
  }

  retry(words) {
    this.close();
    const pause = Math.min(1000 * 2 ** this.failures++, 10000) * (0.75 + Math.random() / 2);
    this.changed(false, words);
    this.timer = setTimeout(() => this.open(), pause);
  }

  playWithHls(turn) {
    const hls = new Hls({
      ...(this.isLow ? { lowLatencyMode: true, liveSyncDuration: 0.4, liveMaxLatencyDuration: 5 }
        : { liveSyncDurationCount: 1, liveMaxLatencyDurationCount: 4 }),
      maxLiveSyncPlaybackRate: 1.2,
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
