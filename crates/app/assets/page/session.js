// Connecting a wallet, signing in, and the session from then on. Its token stays in this memory: no storage that another
// script or a later visitor could read.

import { api, clockSkew, explainFailure, serverNow } from './api.js';
import { $, announce, chainName } from './dom.js';
import { checksummed, messageText } from './message.js';
import { holders, page, state } from './state.js';
import { ask, caip2, explainWalletError } from './wallets.js';

const LONGEST_TIMER_MS = 2 ** 31 - 1; // setTimeout fires at once beyond this
const ADDRESS = /^0x[0-9a-fA-F]{40}$/;

let challengeTimer;
let sessionTimer;

/** Listens to a wallet from its first connection on; what it says matters while it is in hand or signed in. */
function watch(wallet) {
  const trying = () => wallet === state.wallet && ['connected', 'signing', 'checking'].includes(state.phase);
  wallet.provider.on?.('accountsChanged', (accounts) => {
    const account = String(accounts?.[0] ?? '').toLowerCase();
    if ([...holders(), state.address].some((address) => address?.toLowerCase() === account)) return;
    const notice = { kind: 'calm', text: account ? 'Your wallet changed its account. Connect again to use it.' : 'Your wallet disconnected.' };
    if (trying()) retreat(notice);
    else if (state.phase === 'signed-in' && [...state.session.providers.values()].includes(wallet)) leave(notice);
  });
  wallet.provider.on?.('chainChanged', (chain) => {
    if (wallet !== state.wallet) return;
    state.walletChain = caip2(chain);
    if (state.phase === 'connected') { page.render(); prepare(); }
  });
  // Some wallets say this when only their network is gone: a session here does not depend on it.
  wallet.provider.on?.('disconnect', () => { if (trying()) retreat({ kind: 'calm', text: 'Your wallet disconnected.' }); });
  return true;
}

export async function connect(wallet) {
  const epoch = state.epoch += 1;
  Object.assign(state, { phase: 'connecting', wallet, address: null, walletChain: null, notice: null });
  page.render();
  announce(`Waiting for ${wallet.name}.`);
  try {
    const accounts = await ask(wallet, 'eth_requestAccounts');
    const chain = await ask(wallet, 'eth_chainId');
    if (epoch !== state.epoch) return;
    if (!Array.isArray(accounts) || !ADDRESS.test(accounts[0])) throw new Error('it shared no account');
    wallet.watched ??= watch(wallet);
    const address = checksummed(accounts[0]);
    const walletChain = caip2(chain);
    // A contract's account is another one on another chain.
    if (state.session?.wallets.some((known) => known.address === address && [null, walletChain].includes(known.chain))) {
      retreat({ kind: 'calm', text: `This account of ${wallet.name} is signed in already. Choose another one there first.` });
      return;
    }
    Object.assign(state, { phase: 'connected', address, walletChain });
  } catch (error) {
    if (epoch === state.epoch) retreat(explainWalletError(error, 'shared'));
    return;
  }
  page.render(true);
  announce('Wallet connected. Sign in next.');
  prepare();
  if (!state.session) page.checkGates();
}

/** Back to the list of wallets. A session stays. */
export function retreat(notice = null) {
  state.epoch += 1;
  Object.assign(state, { phase: 'choose', wallet: null, address: null, walletChain: null, notice });
  if (notice) announce(notice.text);
  page.render();
  if (!state.session) page.forgetGates();
  prepare();
}

/** Back to the list of wallets; a session that was open is revoked. */
function leave(notice) {
  if (state.session) end(state.session.token);
  state.session = null;
  retreat(notice);
}

// A session that cannot be ended now is forgotten here, and expires there.
const end = (token) => api('/v1/session', { method: 'DELETE', token }).catch(() => {});

/** Chains that the gates read, in their order. */
function serviceChains() {
  const chains = new Set();
  const walk = (value) => {
    if (typeof value?.chain === 'string') chains.add(value.chain);
    if (value && typeof value === 'object') Object.values(value).forEach(walk);
  };
  state.gates.forEach((gate) => walk(gate.description.require));
  return [...chains];
}

export function wantedChain() {
  const chains = serviceChains();
  return chains.includes(state.walletChain) ? state.walletChain : chains[0] ?? state.walletChain;
}

/** The address that a challenge must be made for: typed data has the address in it, a text gets it here. */
const boundTo = () => (state.wallet?.typed ? state.address : null);

export function ready() {
  const { challenge } = state;
  return challenge?.chain === wantedChain() && challenge.address === boundTo() && serverNow() < challenge.expires;
}

/**
 * Fetches the challenge before it is needed, which is before a wallet is connected, and again before it grows old: a
 * wallet that opens by deep link must be called from the click itself, with nothing awaited in between.
 */
export async function prepare() {
  clearTimeout(challengeTimer);
  const chain = wantedChain();
  const address = boundTo();
  if (!chain || state.phase === 'signed-in') return;
  if (!ready() || serverNow() >= state.challenge.renewAt) {
    try {
      // Wallets warn of a message that names another domain than the page's.
      const challenge = await api(`/v1/challenge?${new URLSearchParams({ chain, domain: location.host, ...(address && { address }) })}`);
      if (chain !== wantedChain() || address !== boundTo()) return;
      const expires = Date.parse(challenge.expires_at);
      state.challenge = { ...challenge, chain, address, expires, renewAt: (serverNow() + expires) / 2 };
      if (state.notice?.about === 'challenge') state.notice = null;
    } catch (error) {
      if (chain !== wantedChain() || address !== boundTo()) return;
      state.notice = { ...explainFailure(error, prepare), about: 'challenge' };
      announce(state.notice.text, true);
    }
    if (['choose', 'connected'].includes(state.phase)) page.render();
  }
  clearTimeout(challengeTimer);
  if (ready()) challengeTimer = setTimeout(refresh, Math.min(Math.max(state.challenge.renewAt - serverNow(), 5000), LONGEST_TIMER_MS));
}

function refresh() {
  if (!document.hidden && ['choose', 'connected'].includes(state.phase) && state.notice?.about !== 'challenge') prepare();
}

export function signIn() {
  const { challenge, wallet, address, walletChain, epoch } = state;
  if (!ready()) {
    page.render();
    prepare();
    return;
  }
  const message = messageText(challenge, address);
  const hex = Array.from(new TextEncoder().encode(message), (byte) => byte.toString(16).padStart(2, '0')).join('');
  const signing = wallet.typed
    ? ask(wallet, 'eth_signTypedData_v4', [address, JSON.stringify(challenge.typed_data)])
    : ask(wallet, 'personal_sign', [`0x${hex}`, address]);
  Object.assign(state, { phase: 'signing', notice: null });
  page.render();
  announce('Waiting for your signature.');
  submit({ epoch, signing, message, scheme: wallet.typed ? 'eip712' : 'eip191', holder: { wallet, address, walletChain } });
}

async function submit({ epoch, signing, message, scheme, holder }) {
  let signature;
  try {
    signature = await signing;
  } catch (error) {
    if (epoch !== state.epoch) return;
    const unsupported = [4200, -32601].includes(error?.code) && !holder.wallet.typed;
    if (!unsupported) return backToSignIn(explainWalletError(error, 'signed'));
    holder.wallet.typed = true;
    await prepare();
    if (epoch !== state.epoch) return;
    if (ready() && !state.challenge.typed_data) {
      // The service takes texts only, because wallets do not compare the domain of typed data with the page's.
      holder.wallet.typed = false;
      backToSignIn(explainWalletError(error, 'signed'));
      prepare();
      return;
    }
    state.phase = 'connected';
    // Where the browser keeps this second call from opening the wallet, the next click makes it by itself.
    if (ready()) signIn();
    else page.render();
    return;
  }
  if (epoch === state.epoch) check({ epoch, holder, body: { message, signature, scheme } });
}

async function check(attempt) {
  const { epoch, holder, body } = attempt;
  const { session } = state;
  Object.assign(state, { phase: 'checking', notice: null });
  page.render();
  announce('Checking your signature.');
  try {
    const answer = await api('/v1/session', { method: 'POST', body: { ...body, link: Boolean(session) }, token: session?.token });
    // Given up meanwhile: but where the answer replaces a session that is still open, that one has ended.
    if (epoch !== state.epoch && (!session || session !== state.session)) end(answer.token);
    else opened(answer, holder);
  } catch (error) {
    if (epoch !== state.epoch) return;
    if (session && error.code?.endsWith('-session')) return sessionEnded();
    // The nonce may be spent: only an answer that asks to come back is tried again with the same signature.
    if (!error.transient) state.challenge = null;
    const late = ['message-expired', 'expired-nonce'].includes(error.code);
    backToSignIn(late ? { kind: 'calm', text: 'The message expired before it was signed. Here is a new one: sign in again.' } : explainFailure(error, () => check(attempt)));
  }
}

function backToSignIn(notice) {
  Object.assign(state, { phase: 'connected', notice });
  page.render();
  announce(notice.text, notice.kind === 'error');
  prepare();
}

function opened(answer, holder) {
  const checked = holders().join();
  const session = state.session ??= { providers: new Map() };
  session.holder = holder;
  session.providers.set(holder.address, holder.wallet);
  Object.assign(state, holder, { phase: 'signed-in', challenge: null, notice: null });
  keep(answer);
  page.render(true);
  announce('Signed in.');
  if (holders().join() !== checked) page.checkGates();
}

function keep({ token, wallets, expires_at, ends_at }) {
  const expires = Date.parse(expires_at);
  const ends = Date.parse(ends_at);
  const renewAt = expires < ends ? (serverNow() + expires) / 2 : Infinity;
  Object.assign(state.session, { token, wallets, expires, ends, renewAt, used: false });
  watchSession();
}

/** Renews the session of a person who is here, and notices its end. */
function watchSession() {
  clearTimeout(sessionTimer);
  const { session } = state;
  if (!session) return;
  if (serverNow() >= session.expires) return sessionEnded();
  const due = serverNow() >= session.renewAt;
  if (due && session.used) renew(session);
  const next = due ? session.expires : Math.min(session.renewAt, session.expires);
  sessionTimer = setTimeout(watchSession, Math.min(next - serverNow(), LONGEST_TIMER_MS));
}

async function renew(session) {
  const { token } = session;
  session.renewAt = Infinity;
  try {
    const answer = await api('/v1/session/renew', { method: 'POST', token });
    if (token !== state.session?.token) return;
    keep(answer);
    if (state.phase === 'signed-in') page.render();
  } catch (error) {
    if (token !== state.session?.token) return;
    if (error.status === 401) return sessionEnded();
    Object.assign(session, { used: error.transient && error.status !== 429, renewAt: Math.max(error.retryAt ?? 0, Date.now() + 5000) + clockSkew });
    watchSession();
  }
}

// Timers sleep with a hidden tab, and phones hide the page while the wallet is in front.
for (const event of ['pointerdown', 'keydown', 'visibilitychange']) {
  document.addEventListener(event, () => {
    if (document.hidden) return;
    if (state.session) state.session.used = true;
    watchSession();
    if (event === 'visibilitychange') refresh();
  });
}

/** `token`: the one that was answered so; since then another one may have replaced it. */
export function sessionEnded(token = state.session?.token) {
  if (!state.session || state.session.token !== token) return;
  state.session = null;
  if (['signed-in', 'checking'].includes(state.phase)) state.phase = 'connected';
  state.notice = { kind: 'calm', text: 'Your session has ended. Sign in again to go on.' };
  announce(state.notice.text, true);
  page.render();
  if (!state.address) page.forgetGates();
  prepare();
}

export async function signOut(everywhere) {
  const { session } = state;
  for (const button of $('portal').querySelectorAll('button')) button.disabled = true;
  try {
    await api(`/v1/session${everywhere ? '?everywhere=true' : ''}`, { method: 'DELETE', token: session.token });
  } catch (error) {
    if (session !== state.session) return;
    // A session that had ended could not end the others.
    if (error.status === 401 && everywhere) return sessionEnded();
    if (error.status !== 401) {
      // Forgetting the token without revoking it would not be signing out: say so and let them try again.
      const notice = explainFailure(error, () => signOut(everywhere));
      state.notice = { ...notice, text: `You are still signed in. ${notice.text}` };
      announce(state.notice.text, true);
      page.render();
      return;
    }
  }
  if (session !== state.session) return;
  state.session = null;
  retreat({ kind: 'calm', text: everywhere ? 'Signed out everywhere.' : 'Signed out.' });
  $('portal-title').focus({ preventScroll: true });
}

export async function switchChain(chain) {
  const { epoch } = state;
  try {
    await ask(state.wallet, 'wallet_switchEthereumChain', [{ chainId: `0x${Number(chain.split(':')[1]).toString(16)}` }]);
    if (epoch !== state.epoch) return;
    state.walletChain = chain;
    state.notice = null;
    announce(`Switched to ${chainName(chain)}.`);
    prepare();
  } catch (error) {
    if (epoch !== state.epoch) return;
    state.notice = explainWalletError(error, 'changed');
    announce(state.notice.text, true);
  }
  page.render();
}

export function backToSession() {
  Object.assign(state, state.session.holder, { phase: 'signed-in', notice: null });
  page.render(true);
}
