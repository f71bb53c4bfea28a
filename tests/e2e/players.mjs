// Plays URLs in a headless Chromium with hls.js and dash.js, and says what it saw: one JSON line with
// a result for each case.
//
//   node players.mjs ORIGIN CASES     CASES: JSON list of
//     {name, player: "hls" | "dash", url, seconds, frames, seek, config}
//
// A case is watched for `seconds` from the first picture on, then until it has shown `frames`, or until
// it ends. `seek` (seconds on the media's own
// timeline, counted from its start) is jumped to in the middle.
import { chromium } from 'playwright-core';
import { fileURLToPath } from 'node:url';

const [origin, text] = process.argv.slice(2);
const packaged = (file) => fileURLToPath(new URL(`node_modules/${file}`, import.meta.url));
const scripts = {
  hls: packaged('hls.js/dist/hls.min.js'),
  dash: packaged('dashjs/dist/modern/umd/dash.all.min.js'),
};

// In the page: starts a player and keeps what happens in window.seen.
const start = ({ player, url, config }) => {
  const video = document.createElement('video');
  video.muted = true;
  document.body.append(video);
  const seen = { errors: [], sizes: [], ended: false };
  window.seen = seen;
  window.video = video;
  const size = () => {
    const now = `${video.videoWidth}x${video.videoHeight}`;
    if (video.videoWidth && seen.sizes.at(-1) !== now) seen.sizes.push(now);
  };
  video.addEventListener('resize', size);
  video.addEventListener('loadeddata', size);
  video.addEventListener('ended', () => { seen.ended = true; });
  video.addEventListener('error', () => seen.errors.push(`video: ${video.error?.message}`));
  if (player === 'hls') {
    const hls = new window.Hls({ ...config });
    window.hls = hls;
    hls.on(window.Hls.Events.ERROR, (_, data) => { if (data.fatal) seen.errors.push(`${data.type} ${data.details}`); });
    hls.loadSource(url);
    hls.attachMedia(video);
    hls.on(window.Hls.Events.MANIFEST_PARSED, () => video.play());
  } else {
    const dash = window.dashjs.MediaPlayer().create();
    dash.updateSettings({ streaming: { ...config } });
    dash.on('error', (event) => seen.errors.push(`dash: ${event.error?.message ?? JSON.stringify(event.error)}`));
    dash.initialize(video, url, true);
    window.dash = dash;
  }
};

const look = () => ({
  time: window.video.currentTime,
  start: window.video.seekable.length ? window.video.seekable.start(0) : 0,
  frames: window.video.getVideoPlaybackQuality().totalVideoFrames,
  ended: window.seen.ended,
  errors: window.seen.errors,
  sizes: window.seen.sizes,
  delay: window.hls?.playingDate ? (Date.now() - window.hls.playingDate.getTime()) / 1000 : null,
});

async function watch(browser, test) {
  const page = await browser.newPage();
  await page.goto(`${origin}/healthz`);
  await page.addScriptTag({ path: scripts[test.player] });
  await page.evaluate(start, test);
  const delays = [];
  let sought = test.seek === undefined;
  let afterSeek = null;
  let last = null;
  const deadline = Date.now() + (test.seconds + 45) * 1000;
  let began = null;
  while (Date.now() < deadline) {
    await page.waitForTimeout(250);
    last = await page.evaluate(look);
    if (last.frames > 0 && began === null) began = Date.now();
    if (last.delay !== null && began !== null) delays.push(last.delay);
    if (!sought && last.frames > 10) {
      await page.evaluate((to) => { window.video.currentTime = window.video.seekable.start(0) + to; }, test.seek);
      sought = true;
      await page.waitForTimeout(1500);
      afterSeek = (await page.evaluate(look)).time - last.start;
    }
    const isOver = began !== null && Date.now() - began > test.seconds * 1000 && last.frames >= (test.frames ?? 0);
    if (last.ended || last.errors.length || isOver) break;
  }
  await page.close();
  const late = delays.slice(Math.floor(delays.length / 2)).sort((a, b) => a - b);
  return { name: test.name, frames: last.frames, ended: last.ended, errors: last.errors, sizes: last.sizes,
    afterSeek, delay: late.length ? late[Math.floor(late.length / 2)] : null };
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  args: ['--no-sandbox', '--autoplay-policy=no-user-gesture-required'],
});
const results = await Promise.all(JSON.parse(text).map((test) => watch(browser, test)));
await browser.close();
console.log(JSON.stringify(results));
