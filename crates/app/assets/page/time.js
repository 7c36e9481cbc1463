// Times of the service's clock, for people.

import { clockSkew, serverNow } from './api.js';
import { h } from './dom.js';

/** A time of the service's clock on the person's. */
export function clockTime(ms) {
  const day = ms - serverNow() > 72_000_000 && { month: 'short', day: 'numeric' };
  return new Date(ms - clockSkew).toLocaleString([], { ...day, hour: '2-digit', minute: '2-digit' });
}

export function timeLeft(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 600) return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, '0')} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h`;
}

/** A countdown to `until`; role=timer is not read out at every tick. */
export function countdown(until, atEnd) {
  const element = h('span', { role: 'timer', class: 'countdown' });
  const tick = () => {
    element.textContent = timeLeft(until - serverNow());
    if (until > serverNow()) return;
    clearInterval(timer);
    if (element.isConnected) atEnd?.();
  };
  const timer = setInterval(() => (element.isConnected ? tick() : clearInterval(timer)), 1000);
  element.textContent = timeLeft(until - serverNow());
  return element;
}

/** A notice with its way out. The retry opens when Retry-After has passed. */
export function noticeElement(notice, id) {
  if (!notice) return null;
  let action = null;
  if (notice.retry) {
    const button = h('button', { type: 'button', class: 'small', id: `${id}-retry`, click: notice.retry }, notice.retryLabel ?? 'Try again');
    const waits = notice.retryAt && notice.retryAt > Date.now();
    button.disabled = Boolean(waits);
    const wait = waits && h('span', { class: 'quiet' }, 'in ', countdown(notice.retryAt + clockSkew, () => { button.disabled = false; wait.remove(); }));
    action = h('p', { class: 'notice-action' }, button, wait);
  }
  return h('div', { class: `notice notice-${notice.kind}` }, h('p', null, notice.text), action);
}
