// Opens the console in a headless Chromium and proves for each camera that its picture moves:
// currentTime advances, and two decoded pictures are neither black nor the same. Prints one JSON
// line; takes a screenshot at desktop and at phone width.
//
//   node browser.mjs CONSOLE_URL SCREENSHOT_FOLDER CAMERA...
import { chromium } from 'playwright-core';

const [url, folder, ...cameras] = process.argv.slice(2);
const DEADLINE_MS = 60000;

// What a camera's <video> shows now: time and a small grey picture.
const look = (name) => {
  const video = document.querySelector(`[data-camera="${name}"] video`);
  if (!video || video.readyState < 2) return null;
  const canvas = document.createElement('canvas');
  canvas.width = 64;
  canvas.height = 36;
  const context = canvas.getContext('2d');
  context.drawImage(video, 0, 0, 64, 36);
  const pixels = context.getImageData(0, 0, 64, 36).data;
  const luma = [];
  for (let i = 0; i < pixels.length; i += 4) luma.push(Math.round((pixels[i] + pixels[i + 1] * 2 + pixels[i + 2]) / 4));
  return { time: video.currentTime, width: video.videoWidth, height: video.videoHeight, luma };
};

function judge(first, second) {
  if (!first || !second) return 'no picture';
  const mean = second.luma.reduce((a, b) => a + b) / second.luma.length;
  const spread = Math.max(...second.luma) - Math.min(...second.luma);
  const changed = second.luma.filter((value, i) => Math.abs(value - first.luma[i]) > 8).length;
  if (!(second.time > first.time)) return 'currentTime stands still';
  if (mean < 4 || spread < 16) return 'the picture is black or empty';
  if (changed < 3) return 'the picture is frozen';
  return '';
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  args: ['--no-sandbox', '--autoplay-policy=no-user-gesture-required'],
});
const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
const foreign = [];
page.on('request', (request) => {
  const target = new URL(request.url());
  if (!['blob:', 'data:'].includes(target.protocol) && target.origin !== new URL(url).origin) foreign.push(request.url());
});
const errors = [];
page.on('pageerror', (error) => errors.push(error.message));
await page.goto(url);

const result = {};
for (const name of cameras) {
  const deadline = Date.now() + DEADLINE_MS;
  do {
    const first = await page.evaluate(look, name);
    await page.waitForTimeout(1500);
    const second = await page.evaluate(look, name);
    result[name] = { problem: judge(first, second), width: second?.width, height: second?.height, time: second?.time };
  } while (result[name].problem && Date.now() < deadline);
}
await page.screenshot({ path: `${folder}/console-desktop.png` });
await page.setViewportSize({ width: 390, height: 844 });
await page.waitForTimeout(3000);
await page.screenshot({ path: `${folder}/console-phone.png` });
await browser.close();
console.log(JSON.stringify({ cameras: result, foreign, errors }));
