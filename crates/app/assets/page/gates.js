// The gates: what each asks for, whether it is open, and the files behind it.

import { api, explainFailure, serverNow } from './api.js';
import { DEMO_OBJECTS } from './demo.js';
import { $, announce, h, replace } from './dom.js';
import { showObject } from './preview.js';
import { holds, requirement, together, unmetInWords } from './requirements.js';
import { prepare, sessionEnded } from './session.js';
import { holders, page, state } from './state.js';
import { countdown, noticeElement, timeLeft } from './time.js';

export async function loadGates() {
  try {
    const { gates } = await api('/v1/gates');
    state.gates = gates.map((description) => new GateCard(description));
    replace($('gates'), $('gates'), state.gates.length ? state.gates.map((gate) => gate.element) : h('p', { class: 'quiet' }, 'This service guards nothing yet.'));
    if (holders().length) checkGates();
    page.render();
    prepare();
  } catch (error) {
    const notice = explainFailure(error, loadGates);
    replace($('gates'), $('gates'), noticeElement(notice, 'gates'));
    announce(notice.text, true);
  }
}

export async function checkGates() {
  const queue = [...state.gates];
  const worker = async () => { for (let gate = queue.shift(); gate; gate = queue.shift()) await gate.check(); };
  await Promise.all([worker(), worker(), worker(), worker()]);
}

export const forgetGates = () => state.gates.forEach((gate) => gate.forget());

class GateCard {
  constructor(description) {
    this.description = description;
    const slug = `gate-${description.gate}`;
    this.pill = h('p', { class: 'pill' });
    this.tree = h('div', { class: 'tree' });
    this.result = h('div', { class: 'result', id: `${slug}-result` });
    this.input = h('input', { id: `${slug}-resource`, name: 'resource', type: 'text', required: true, maxlength: 1088, autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', value: this.suggestions()[0] ?? this.prefix() });
    this.button = h('button', { type: 'submit', class: 'primary' }, 'Open');
    const chips = this.suggestions().length > 1 && h('ul', { class: 'chips', 'aria-label': 'Files to try' }, this.suggestions().map((resource) =>
      h('li', null, h('button', { type: 'button', class: 'chip', click: () => { this.input.value = resource; this.open(); } }, resource.startsWith(this.prefix()) ? resource.slice(this.prefix().length) || resource : resource))));
    this.element = h('article', { class: 'gate', id: slug, 'aria-labelledby': `${slug}-title` },
      h('header', null, h('h3', { id: `${slug}-title` }, description.gate), this.pill),
      h('p', { class: 'patterns' }, (description.resources ?? []).map((pattern) => h('code', null, pattern))),
      this.tree,
      h('form', { submit: (event) => { event.preventDefault(); this.open(); } },
        h('label', { for: `${slug}-resource` }, 'File'),
        h('div', { class: 'row' }, this.input, this.button), chips),
      this.result);
    this.forget();
  }

  prefix() {
    return this.description.resources?.[0]?.split('*')[0] ?? '';
  }

  suggestions() {
    const patterns = this.description.resources ?? [];
    const exact = patterns.filter((pattern) => !/[*?{[]/.test(pattern));
    const demo = state.demoRpc ? DEMO_OBJECTS.filter((object) => patterns.some((pattern) => pattern.endsWith('/**') && object.startsWith(pattern.slice(0, -2)))) : [];
    return [...exact, ...demo].slice(0, 6);
  }

  forget() {
    this.show('unknown', 'Connect a wallet to check', this.description.require);
    this.result.replaceChildren();
  }

  show(verdict, text, tree) {
    this.element.dataset.verdict = verdict;
    this.pill.textContent = text;
    this.tree.replaceChildren(requirement(tree));
  }

  async check() {
    const addresses = holders();
    if (!addresses.length) return;
    const changed = () => holders().join() !== addresses.join();
    this.element.dataset.verdict = 'unknown';
    this.pill.textContent = 'Checking…';
    try {
      const checks = await Promise.all(addresses.map((address) => api(`/v1/gates/${encodeURIComponent(this.description.gate)}/check?${new URLSearchParams({ address })}`)));
      if (changed()) return;
      const tree = together(checks.map((check) => check.explain));
      const granted = checks.length === 1 ? checks[0].granted : holds(tree);
      const [verdict, words] = granted ? ['open', 'Open to you'] : granted === false ? ['closed', 'Closed to you'] : ['unknown', 'Could not find out'];
      this.show(verdict, words, tree);
    } catch {
      if (changed()) return;
      this.show('unknown', 'Could not find out', this.description.require);
      const again = h('button', { type: 'button', class: 'small plain', click: () => this.check() }, 'Check again');
      this.pill.append(' ', again);
    }
  }

  async open() {
    const resource = this.input.value.trim();
    if (!resource) { this.input.focus(); return; }
    const { session } = state;
    if (!session) {
      this.report({ kind: 'calm', text: 'Sign in first; then open it from here.' });
      return;
    }
    this.button.disabled = true;
    this.button.textContent = 'Opening…';
    const { token } = session;
    try {
      const grant = await api('/v1/access', { method: 'POST', token, body: { resource } });
      if (session !== state.session) return;
      const url = new URL(grant.url);
      if (url.protocol !== 'https:' && url.protocol !== 'http:') throw new Error('The service answered with an address this page does not open.');
      this.granted(resource, grant, url.href);
    } catch (error) {
      if (session !== state.session) return;
      if (error.status === 401) {
        this.result.replaceChildren();
        sessionEnded(token);
      } else if (error.status === 403) {
        this.refused(error.unmet);
        this.check();
      } else {
        this.report(error.status === 404 ? { kind: 'error', text: 'No gate covers this file, so here it does not exist.' } : explainFailure(error, () => this.open()));
      }
    } finally {
      this.button.disabled = false;
      this.button.textContent = 'Open';
    }
  }

  report(notice) {
    this.result.replaceChildren(noticeElement(notice, this.result.id));
    announce(notice.text, notice.kind === 'error');
  }

  refused(unmet) {
    const items = unmet.map((leaf) => unmetInWords(leaf));
    this.result.replaceChildren(h('div', { class: 'notice notice-error' },
      h('p', null, 'The gate stays closed for this wallet. It does not meet:'),
      h('ul', { class: 'unmet' }, items.map((words) => h('li', null, words)))));
    announce(`Refused. ${this.result.textContent}`, true);
  }

  granted(resource, grant, href) {
    const name = resource.split('/').pop();
    const expires = Date.parse(grant.expires_at);
    const link = h('a', { class: 'open-link', href, target: '_blank', rel: 'noopener noreferrer' }, `Open ${name} in a new tab`);
    const life = h('p', { class: 'quiet' }, 'The link works for ', countdown(expires, () => {
      link.remove();
      life.textContent = 'The link has expired. Open the file again for a new one.';
    }), '.');
    const preview = h('div', { class: 'preview' }, h('p', { class: 'quiet' }, 'Fetching…'));
    this.result.replaceChildren(h('div', { class: 'granted' }, h('p', { class: 'granted-head' }, link), life, preview));
    announce(`The gate is open. ${name} can be read for ${timeLeft(expires - serverNow())}.`);
    showObject(preview, name, href);
  }
}
