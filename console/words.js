// What figures and states are called, and how they get onto the page.
export const STATES = {
  off: 'Off', connecting: 'Connecting', live: 'Live', stalled: 'Stalled', backoff: 'Waiting to retry', failed: 'Failed',
};
export const $ = (id) => document.getElementById(id);

export function bitrate(bps) {
  if (!(bps > 0)) return '';
  return bps < 999500 ? `${Math.round(bps / 1000)} kbit/s` : `${(bps / 1e6).toFixed(1)} Mbit/s`;
}

export function size(bytes) {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let unit = 0;
  for (; bytes >= 1000 && unit < units.length - 1; unit++) bytes /= 1000;
  return `${unit && bytes < 100 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

export function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 100) return `${s} s`;
  if (s < 6000) return `${Math.round(s / 60)} min`;
  return s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} days`;
}

export const known = (value) => typeof value === 'number' && value >= 0;
export const count = (n, noun) => `${n.toLocaleString('en')} ${noun}${n === 1 ? '' : 's'}`;
export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// Writes only what changed: the page stays still for eyes and for screen readers.
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function writeParts(node, parts) { // parts: strings, or [string, class]
  const wanted = parts.filter((part) => part && part[0]);
  while (node.children.length > wanted.length) node.lastChild.remove();
  wanted.forEach((part, i) => {
    const [text, name] = Array.isArray(part) ? part : [part, ''];
    const child = node.children[i] || node.appendChild(document.createElement('span'));
    write(child, text);
    if (child.className !== name) child.className = name;
  });
}

export const clock = (ms, seconds = true) => new Date(ms).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: seconds ? '2-digit' : undefined, hour12: false });
export const day = (ms) => new Date(ms).toLocaleDateString([], { weekday: 'short', day: 'numeric', month: 'short' });

// Rows of a definition list, changed in place.
export function writeRows(list, rows) {
  const wanted = rows.filter((row) => row[1]);
  while (list.children.length > wanted.length) list.lastChild.remove();
  wanted.forEach(([term, text], i) => {
    let row = list.children[i];
    if (!row) {
      row = list.appendChild(document.createElement('div'));
      row.append(document.createElement('dt'), document.createElement('dd'));
    }
    write(row.firstChild, term);
    write(row.lastChild, text);
  });
}
