// Asking the agent. A failure is an Error with words for people.
'use strict';

export const enc = encodeURIComponent;

export async function ask(path, options = {}) {
  let reply;
  try {
    reply = await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(options.timeout || 10000), ...options });
  } catch (error) {
    throw Object.assign(new Error(error.name === 'AbortError' ? 'Cancelled' : 'The agent does not answer'), { status: 0 });
  }
  if (reply.ok) return reply;
  const body = await reply.json().catch(() => ({}));
  if (reply.status === 401) document.dispatchEvent(new CustomEvent('kvg-token'));
  throw Object.assign(new Error(body.message || `HTTP ${reply.status}`), { status: reply.status, body });
}

export const get = async (path) => (await ask(path)).json();

export async function send(method, path, body) {
  const reply = await ask(path, { method, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
  return reply.json().catch(() => ({}));
}

// Hands a file to the browser's downloads.
export function save(blob, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
