// Uses every control of the console in a headless Chromium, at desktop and at phone size, on live
// data, and has axe-core look at each view. Prints one JSON line; screenshots go to the folder.
//
//   node console.mjs CONSOLE_URL FOLDER CAMERA...
import { chromium } from 'playwright-core';
import { fileURLToPath } from 'node:url';
import { readFileSync, statSync } from 'node:fs';

const [url, folder, ...cameras] = process.argv.slice(2);
const axe = readFileSync(fileURLToPath(new URL('node_modules/axe-core/axe.min.js', import.meta.url)), 'utf8');
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  args: ['--no-sandbox', '--autoplay-policy=no-user-gesture-required'],
});
const errors = [], findings = [], done = [];
const expected = /status of 5\d\d|ERR_CONNECTION/; // while the agent is away

function check(truth, what) {
  if (!truth) throw new Error(what);
  done.push(what);
}

async function open(options) {
  const context = await browser.newContext({ acceptDownloads: true, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(30000);
  page.on('pageerror', (error) => errors.push(error.message));
  page.on('console', (line) => {
    // What is not recorded, or not there yet, is an answer the page shows.
    if (line.type() === 'error' && !/status of (401|404|409|501)/.test(line.text()) && !expected.test(line.text())) errors.push(line.text());
  });
  await page.goto(url);
  return page;
}

async function look(page, name) {
  await page.screenshot({ path: `${folder}/${name}.png` });
  await page.evaluate(axe); // the page's policy allows no script element
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  for (const it of violations) {
    if (['serious', 'critical'].includes(it.impact)) findings.push(`${name}: ${it.id}: ${it.nodes.map((n) => n.target.join(' ')).join(', ').slice(0, 300)}`);
  }
}

const moving = (page, selector) => page.waitForFunction((query) => {
  const video = document.querySelector(query);
  if (!video || video.readyState < 2) return false;
  const was = video.dataset.was;
  video.dataset.was = String(video.currentTime);
  return was !== undefined && video.currentTime > Number(was);
}, selector, { timeout: 40000, polling: 400 });
const text = (page, id) => page.locator(`#${id}`).textContent();
const said = (page, words) => page.waitForFunction((part) => document.getElementById('say').textContent.includes(part), words);

async function save(page, id) {
  const waits = page.waitForEvent('download');
  await page.locator(`#${id}`).click();
  const file = await waits;
  const path = `${folder}/${file.suggestedFilename()}`;
  await file.saveAs(path);
  return path;
}

async function watchLive(page, name) {
  await page.locator(`[data-camera="${name}"] .open`).click();
  await moving(page, '#view-video');
  await page.waitForFunction(() => document.getElementById('view-time').textContent.includes('low latency'));
  await page.waitForFunction(() => document.querySelectorAll('.bar .has').length > 0);
  done.push('live with low latency, and what is recorded');
}

async function watchRecorded(page) {
  await page.waitForFunction(() => { // enough to go back into
    const bar = document.querySelector('.bar');
    return [...bar.querySelectorAll('.has')].some((it) => (it.offsetWidth / bar.clientWidth) * 3600 > 22);
  }, null, { timeout: 60000 });
  await page.locator('#back10').click();
  await moving(page, '#view-video');
  check(await page.locator('#go-live').getAttribute('aria-pressed') === 'false', '10 s back is recorded');
  await page.locator('#speed').selectOption('0.5');
  check(await page.evaluate(() => document.getElementById('view-video').playbackRate) === 0.5, 'speed');
  await page.locator('#pause').click();
  await page.waitForFunction(() => document.getElementById('view-video').paused);
  check(await text(page, 'pause') === 'Play', 'pause');
  await page.locator('#pause').click();
  await page.waitForFunction(() => !document.getElementById('view-video').paused);
  // A place in the bar: within what is recorded last.
  const bar = page.locator('.bar');
  const at = await bar.evaluate((node) => {
    const box = node.querySelectorAll('.has');
    const last = box[box.length - 1];
    return { x: last.offsetLeft + last.offsetWidth * 0.3, y: 10 };
  });
  await bar.click({ position: at });
  await moving(page, '#view-video');
  done.push('a click into the bar');
  await bar.focus();
  const before = Number(await bar.getAttribute('aria-valuenow'));
  await page.keyboard.press('ArrowLeft');
  await page.waitForFunction((was) => Math.abs(Number(document.querySelector('.bar').getAttribute('aria-valuenow')) - was) > 0, before);
  await page.locator('#on10').click();
  done.push('keys in the bar, 10 s on');
  const when = await page.evaluate(() => document.getElementById('when').value);
  await page.locator('#when').fill(when); // as the browser writes it: without seconds at a whole minute
  await page.locator('#when-form button').click();
  await moving(page, '#view-video');
  done.push('date and time');
}

async function clips(page, name) {
  await page.locator('#mark-from').click();
  await page.waitForTimeout(2500);
  await page.locator('#mark-to').click();
  await page.waitForFunction(() => !document.getElementById('clip').disabled);
  const clip = await save(page, 'clip');
  check(clip.includes(name) && clip.endsWith('.mp4') && statSync(clip).size > 5000, 'a clip is saved');
  const picture = await save(page, 'snapshot');
  check(picture.endsWith('.jpg') && readFileSync(picture).subarray(0, 3).equals(Buffer.from([0xff, 0xd8, 0xff])), 'a picture is saved');
  await page.locator('#mark-none').click();
  check(await page.locator('#clip').isDisabled(), 'marks are cleared');
}

async function settings(page) {
  await page.locator('#fps').fill('5');
  await page.locator('#settings .main').click();
  await said(page, 'Changed.');
  await page.waitForFunction(() => /, [3-6](\.\d)? fps/.test(document.getElementById('facts').textContent), null, { timeout: 60000 });
  done.push('frames a second changed');
  await page.locator('#fps').fill('61');
  check(!(await page.locator('#fps').evaluate((input) => input.checkValidity())), 'an impossible value is refused');
  await page.locator('#fps').fill('5');
  await page.locator('#as-configured').click();
  await page.waitForFunction(() => document.getElementById('fps').value === '');
  done.push('as configured');
  await page.locator('#go-live').click();
  await page.locator('#streaming').uncheck();
  await page.waitForFunction(() => document.getElementById('view').dataset.state === 'off');
  await page.waitForFunction(() => document.getElementById('view-note').textContent.includes('is off'));
  done.push('off is said');
  await look(page, 'off');
  await page.locator('#streaming').check();
  await page.waitForFunction(() => document.getElementById('view').dataset.state === 'live', null, { timeout: 60000 });
  await moving(page, '#view-video');
  done.push('off and on');
  await page.waitForFunction(() => !document.getElementById('history-box').hidden && document.getElementById('history').textContent.includes('Off: '));
  done.push('history');
}

async function keys(page) {
  await page.locator('#view-name').focus();
  await page.keyboard.press('?');
  check(await page.locator('#help').isVisible(), 'keys are listed');
  await look(page, 'help');
  await page.locator('#help-close').click();
  const name = await text(page, 'view-name');
  await page.keyboard.press('n');
  await page.waitForFunction((was) => document.getElementById('view-name').textContent !== was, name);
  await page.keyboard.press('p');
  await page.waitForFunction((was) => document.getElementById('view-name').textContent === was, name);
  await page.keyboard.press('Escape');
  await page.locator('#grid-page').waitFor();
  done.push('Esc goes back to the grid');
}

try {
  const page = await open({ viewport: { width: 1440, height: 900 }, colorScheme: 'light' });
  for (const name of cameras) await moving(page, `[data-camera="${name}"] video`);
  await look(page, 'grid-light');
  await watchLive(page, cameras[0]);
  await look(page, 'live-light');
  for (const hours of ['6 h', 'Day', '10 min', '1 h']) await page.locator('#zooms label', { hasText: hours }).click();
  await page.locator('#earlier').click();
  await page.locator('#later').click();
  await watchRecorded(page);
  await clips(page, cameras[0]);
  await look(page, 'recorded-light');
  check((await text(page, 'cost')).startsWith('$'), 'cost');
  await settings(page);
  await keys(page);
  // A player or two for what is seen, none for what is not.
  await page.waitForFunction((n) => [...document.querySelectorAll('video')].filter((v) => v.src || v.srcObject).length === n, cameras.length);
  done.push('no player is left over');
  await page.close();

  // An agent that wants a token: the page asks for it, and says why one is not taken.
  const locked = await open({ viewport: { width: 800, height: 700 }, colorScheme: 'dark' });
  await locked.route('**/api/cameras', (route) => route.fulfill({ status: 401, json: { message: 'a token is needed' } }));
  await locked.locator('#token').fill('wrong');
  await look(locked, 'token-dark');
  await locked.locator('#token-form button').click();
  await locked.waitForFunction(() => document.getElementById('token-problem').textContent.includes('asks for no token'));
  done.push('a token is asked for');
  await locked.close();

  const phone = await open({ viewport: { width: 390, height: 844 }, colorScheme: 'dark', hasTouch: true, isMobile: true });
  await moving(phone, `[data-camera="${cameras[0]}"] video`);
  await look(phone, 'grid-phone-dark');
  await watchLive(phone, cameras[0]);
  await look(phone, 'live-phone-dark');
  await phone.locator('#back10').click();
  await moving(phone, '#view-video');
  await phone.screenshot({ path: `${folder}/phone-whole.png`, fullPage: true });
  check(await phone.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing is wider than a phone');
  await phone.locator('#view-back').click();
  await moving(phone, `[data-camera="${cameras[0]}"] video`);
  console.log(JSON.stringify({ done, errors, findings }));
} catch (error) {
  console.log(JSON.stringify({ done, errors, findings, failed: String(error.stack || error) }));
}
await browser.close();
