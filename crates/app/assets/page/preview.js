// What an opened file holds, where the page may read it.

import { REQUEST_TIMEOUT_MS } from './api.js';
import { h } from './dom.js';

const PREVIEW_LIMIT = 64 * 1024;

export async function showObject(place, name, href) {
  const note = (text) => place.replaceChildren(h('p', { class: 'quiet' }, text));
  const image = () => place.replaceChildren(h('img', { src: href, alt: name, referrerpolicy: 'no-referrer', error: () => note('Use the link above to see it.') }));
  let response;
  try {
    response = await fetch(href, { credentials: 'omit', referrerPolicy: 'no-referrer', cache: 'no-store', redirect: 'error', signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
  } catch {
    // No answer that this page may read: usually the bucket allows no other origin. The link needs no such permission.
    if (/\.(png|jpe?g|gif|webp|avif|svg)$/i.test(name)) image();
    else note('The storage does not let a page show it. Use the link above.');
    return;
  }
  if (!response.ok) {
    response.body?.cancel();
    note(response.status === 404 ? 'The gate is open, but there is no such file.' : 'The storage refused the link. Open the file again for a new one.');
    return;
  }
  const type = (response.headers.get('content-type') ?? '').split(';')[0].trim().toLowerCase();
  if (type.startsWith('image/')) {
    response.body?.cancel();
    image();
    return;
  }
  const { bytes, whole } = await readUpTo(response, PREVIEW_LIMIT).catch(() => ({ bytes: null }));
  const text = bytes && asText(bytes, type, whole);
  if (text == null) note('It is not text. Use the link above.');
  else place.replaceChildren(h('pre', { tabindex: '0', 'aria-label': `Contents of ${name}` }, text), whole ? '' : h('p', { class: 'quiet' }, 'The first 64 KiB are shown.'));
}

async function readUpTo(response, limit) {
  const reader = response.body.getReader();
  const bytes = new Uint8Array(limit);
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return { bytes: bytes.subarray(0, length), whole: true };
    const room = value.subarray(0, limit - length);
    bytes.set(room, length);
    length += room.length;
    if (room.length < value.length) {
      reader.cancel();
      return { bytes, whole: false };
    }
  }
}

/** Stores often label text as octets: what decodes as UTF-8 without NUL is shown as text. */
function asText(bytes, type, whole) {
  if (/^(audio|video|font)\//.test(type) || /zip|pdf/.test(type) || bytes.includes(0)) return null;
  try {
    // A cut may fall inside a character: `stream` leaves that one out.
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: !whole });
  } catch {
    return null;
  }
}
