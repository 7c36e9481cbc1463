// The page: finds wallets (EIP-6963, EIP-1193), signs in (EIP-4361), explains the gates and opens what they guard.
//
// Everything from a wallet, the service or a store becomes text nodes and checked attributes, never markup. The session
// token stays in this module's memory: no storage that another script or a later visitor could read.

const REQUEST_TIMEOUT_MS = 15_000;
const PREVIEW_LIMIT = 64 * 1024;
const LONGEST_TIMER_MS = 2 ** 31 - 1; // setTimeout fires at once beyond this
const ADDRESS = /^0x[0-9a-fA-F]{40}$/;

// Known only where the service names a development chain: its first two well-known accounts, and what the demo stores.
const DEMO_WALLETS = [
  { id: 'demo-owner', name: 'Owner', note: 'holds the tokens', address: '0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266' },
  { id: 'demo-stranger', name: 'Stranger', note: 'holds nothing', address: '0x70997970C51812dc3A010C7d01b50e0d17dc79C8' },
];
const DEMO_OBJECTS = ['media/season-1/hello.txt', 'media/season-1/cover.svg', 'media/season-1/episodes/1.txt', 'media/pass/backstage.txt', 'media/holders/report.txt'];

const CHAIN_NAMES = {
  1: 'Ethereum', 10: 'OP Mainnet', 56: 'BNB Smart Chain', 100: 'Gnosis', 137: 'Polygon', 8453: 'Base', 42161: 'Arbitrum One',
  43114: 'Avalanche', 11155111: 'Sepolia', 84532: 'Base Sepolia', 31337: 'the local chain',
};

const state = {
  demoRpc: null,
  wallets: new Map(),
  searching: true,
  /** choose → connecting → connected → signing → checking → signed-in, and from there again for another wallet */
  phase: 'choose',
  /** The wallet in hand and the account that it shared. */
  wallet: null,
  address: null,
  walletChain: null,
  /** What the service wants signed: fetched before any account is known, for whichever account comes. */
  challenge: null,
  /** One object from sign-in to sign-out, through renewals and further wallets. */
  session: null,
  notice: null,
  gates: [],
  /** Bumped whenever the wallet in hand changes: answers to older questions are dropped. */
  epoch: 0,
};

// ---------------------------------------------------------------------------------------------------------------- DOM

const $ = (id) => document.getElementById(id);

function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

/** Replaces what is in `parent` and keeps the keyboard where it was: on the same control, or on `fallback`. */
function replace(parent, fallback, ...children) {
  const focused = parent.contains(document.activeElement) ? document.activeElement.id : null;
  parent.replaceChildren(...children.flat(Infinity).filter(Boolean));
  if (focused !== null) {
    const again = focused && parent.querySelector(`#${CSS.escape(focused)}:not(:disabled)`);
    (again || fallback)?.focus({ preventScroll: true });
  }
}

function announce(text, urgent = false) {
  $(urgent ? 'alerter' : 'announcer').textContent = text;
}

function shortAddress(address) {
  return h('code', { class: 'address', title: address }, `${address.slice(0, 6)}…${address.slice(-4)}`);
}

/** Long digit runs are a token's smallest units: 1000000000000000000000 reads as 1000 × 10¹⁸. */
function readable(text) {
  return String(text).replace(/\d{10,}/g, (digits) => {
    const zeros = /0*$/.exec(digits)[0].length;
    const shift = zeros >= 18 ? 18 : zeros >= 9 ? 9 : 0;
    if (shift === 0) return BigInt(digits).toLocaleString('en');
    const superscript = [...String(shift)].map((digit) => '⁰¹²³⁴⁵⁶⁷⁸⁹'[digit]).join('');
    return `${BigInt(digits.slice(0, -shift)).toLocaleString('en')}\u00a0×\u00a010${superscript}`;
  });
}

const chainName = (chain) => CHAIN_NAMES[chain.split(':')[1]] ?? `chain ${chain.split(':')[1] ?? chain}`;

/** A time of the service's clock on the person's. */
function clockTime(ms) {
  const day = ms - serverNow() > 72_000_000 && { month: 'short', day: 'numeric' };
  return new Date(ms - clockSkew).toLocaleString([], { ...day, hour: '2-digit', minute: '2-digit' });
}

function timeLeft(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 600) return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, '0')} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h`;
}

/** A countdown to `until`; role=timer is not read out at every tick. */
function countdown(until, atEnd) {
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

// ---------------------------------------------------------------------------------------------------------------- API

class Refusal extends Error {
  constructor(status, problem, retryAfter) {
    super(problem?.detail ?? problem?.title ?? `The service failed (HTTP ${status}). Nothing was decided.`);
    this.status = status;
    this.code = problem?.code;
    this.unmet = Array.isArray(problem?.unmet) ? problem.unmet : [];
    this.retryAt = retryAfter ? Date.now() + Math.min(retryAfter, 3600) * 1000 : null;
  }

  get transient() {
    return this.status === 429 || this.status >= 500 || this.status === 0;
  }
}

// Expiry times are the service's; a wrong clock here must not end a session early or keep a dead one.
let clockSkew = 0;
const serverNow = () => Date.now() + clockSkew;

async function api(path, { method = 'GET', body, token } = {}) {
  const headers = { accept: 'application/json' };
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (token !== undefined) headers.authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body),
      cache: 'no-store', credentials: 'omit', redirect: 'error', signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
  } catch {
    throw new Refusal(0, { detail: 'The service did not answer. Check your connection.' });
  }
  const date = Date.parse(response.headers.get('date') ?? '');
  // Date has whole seconds: a smaller difference is none.
  if (!Number.isNaN(date)) clockSkew = Math.abs(date - Date.now()) > 2000 ? date - Date.now() : 0;
  const parsed = response.status === 204 ? null : await response.json().catch(() => null);
  if (response.ok && (parsed !== null || response.status === 204)) return parsed;
  throw new Refusal(response.status, parsed, Number(response.headers.get('retry-after')) || null);
}

/** What went wrong, in words for the person, and what they can do about it. */
function explainFailure(error, retry) {
  if (!error?.transient) return { kind: 'error', text: error?.message || 'Something went wrong.' };
  return { kind: 'wait', text: error.message, retry, retryAt: error.retryAt };
}

/** A notice with its way out. The retry opens when Retry-After has passed. */
function noticeElement(notice, id) {
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

// ------------------------------------------------------------------------------------------------------------ Wallets

function addWallet(wallet) {
  state.wallets.set(wallet.id, wallet);
  if (state.phase === 'choose') renderPortal();
}

/** What a wallet says of itself is anybody's word: shown as text, without characters that change how the rest reads. */
function announced({ detail }) {
  const { uuid, name, icon } = detail?.info ?? {};
  if (typeof uuid !== 'string' || typeof name !== 'string' || typeof detail.provider?.request !== 'function') return;
  const id = `wallet-${uuid}`;
  if (state.wallets.has(id)) return; // every request is answered by all, and nobody takes another one's place
  state.wallets.delete('legacy');
  const safeName = name.replace(/\p{C}/gu, '').trim().slice(0, 60) || 'Wallet without a name';
  const safeIcon = typeof icon === 'string' && /^data:image\/(svg\+xml|png|webp|gif|jpeg)[;,]/.test(icon) ? icon : null;
  addWallet({ id, name: safeName, icon: safeIcon, provider: detail.provider });
}

function discoverWallets() {
  window.addEventListener('eip6963:announceProvider', announced);
  window.addEventListener('ethereum#initialized', adoptLegacy, { once: true });
  lookForWallets();
}

function lookForWallets() {
  state.searching = true;
  renderPortal();
  window.dispatchEvent(new Event('eip6963:requestProvider'));
  // Extensions inject at their own pace; an empty list is only honest after a moment.
  setTimeout(() => {
    adoptLegacy();
    state.searching = false;
    if (state.phase === 'choose') renderPortal();
  }, 400);
}

/** `window.ethereum` belongs to whoever wrote it last: it is taken only where no wallet announces itself. */
function adoptLegacy() {
  const provider = window.ethereum;
  if (typeof provider?.request !== 'function' || [...state.wallets.keys()].some((id) => id.startsWith('wallet-'))) return;
  addWallet({ id: 'legacy', name: 'Browser wallet', provider });
}

// A wallet may throw where it should reject; what it is asked for leaves before this returns.
const ask = async (wallet, method, params = []) => wallet.provider.request({ method, params });

/** An EIP-1193 provider over a development node, which signs with its unlocked accounts. */
function demoProvider(rpc, address) {
  let id = 0;
  return {
    async request({ method, params = [] }) {
      if (method === 'eth_requestAccounts' || method === 'eth_accounts') return [address];
      let reply;
      try {
        const response = await fetch(rpc, {
          method: 'POST', credentials: 'omit', headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ jsonrpc: '2.0', id: ++id, method, params }), signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
        });
        reply = await response.json();
      } catch {
        throw Object.assign(new Error('The development chain did not answer.'), { code: 4900 });
      }
      if (reply.error) throw Object.assign(new Error(reply.error.message), { code: reply.error.code });
      return reply.result;
    },
  };
}

/** What a wallet's error means (EIP-1193 §4.1, EIP-1474 §2, EIP-3326). */
function explainWalletError(error, doing) {
  switch (error?.code) {
    case 4001: return { kind: 'calm', text: `You declined in your wallet. Nothing was ${doing}.` };
    case 4100: return { kind: 'error', text: 'Your wallet has not given this page access to the account.' };
    case 4900: case 4901: return { kind: 'error', text: 'Your wallet is not connected to its network.' };
    case 4902: return { kind: 'error', text: 'Your wallet does not know this network. Add it in the wallet, then try again.' };
    case 4200: case -32601: return { kind: 'error', text: 'Your wallet cannot do that.' };
    case -32002: return { kind: 'wait', text: 'Your wallet already shows a request. Open it and answer there.' };
    default: return { kind: 'error', text: `The wallet answered: ${String(error?.message ?? error).slice(0, 200)}` };
  }
}

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
    if (state.phase === 'connected') { renderPortal(); prepare(); }
  });
  // Some wallets say this when only their network is gone: a session here does not depend on it.
  wallet.provider.on?.('disconnect', () => { if (trying()) retreat({ kind: 'calm', text: 'Your wallet disconnected.' }); });
  return true;
}

const caip2 = (hex) => (/^0x[0-9a-fA-F]{1,15}$/.test(hex) ? `eip155:${Number.parseInt(hex, 16)}` : null);

/** Who the gates are checked for. */
const holders = () => (state.session ? [...new Set(state.session.wallets.map(({ address }) => address))] : state.address ? [state.address] : []);

async function connect(wallet) {
  const epoch = state.epoch += 1;
  Object.assign(state, { phase: 'connecting', wallet, address: null, walletChain: null, notice: null });
  renderPortal();
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
  renderPortal(true);
  announce('Wallet connected. Sign in next.');
  prepare();
  if (!state.session) checkGates();
}

/** Back to the list of wallets. A session stays. */
function retreat(notice = null) {
  state.epoch += 1;
  Object.assign(state, { phase: 'choose', wallet: null, address: null, walletChain: null, notice });
  if (notice) announce(notice.text);
  renderPortal();
  if (!state.session) forgetGates();
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

// ------------------------------------------------------------------------------------------------------------ Message

/** The address by EIP-55, as EIP-4361 wants it in the message; wallets often share lower case. */
function checksummed(address) {
  const digits = address.slice(2).toLowerCase();
  const hash = keccak256(digits);
  return `0x${[...digits].map((digit, i) => (hash[i >> 1] >> (i % 2 ? 0 : 4)) & 8 ? digit.toUpperCase() : digit).join('')}`;
}

/** The first 32 bytes of Keccak's sponge with the padding of Ethereum, over at most 135 ASCII characters. */
function keccak256(text) {
  const block = new DataView(new ArrayBuffer(200));
  [...text].forEach((character, i) => block.setUint8(i, character.charCodeAt(0)));
  block.setUint8(text.length, 1);
  block.setUint8(135, block.getUint8(135) | 0x80);
  const lanes = Array.from({ length: 25 }, (_, i) => block.getBigUint64(8 * i, true));
  const rotate = (lane, by) => BigInt.asUintN(64, lane << by) | (lane >> (64n - by));
  for (let round = 0, lfsr = 1; round < 24; round += 1) {
    const parity = [0, 1, 2, 3, 4].map((x) => lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20]);
    for (let i = 0; i < 25; i += 1) lanes[i] ^= parity[(i + 4) % 5] ^ rotate(parity[(i + 1) % 5], 1n);
    for (let t = 1, x = 1, y = 0, moved = lanes[1]; t <= 24; t += 1) {
      [x, y] = [y, (2 * x + 3 * y) % 5];
      [moved, lanes[x + 5 * y]] = [lanes[x + 5 * y], rotate(moved, BigInt((t * (t + 1) / 2) % 64))];
    }
    for (let y = 0; y < 25; y += 5) {
      const row = lanes.slice(y, y + 5);
      for (let x = 0; x < 5; x += 1) lanes[y + x] ^= BigInt.asUintN(64, ~row[(x + 1) % 5]) & row[(x + 2) % 5];
    }
    for (let j = 0; j < 7; j += 1) {
      lfsr = ((lfsr << 1) ^ ((lfsr >> 7) * 0x71)) % 256;
      if (lfsr & 2) lanes[0] ^= 1n << BigInt(2 ** j - 1);
    }
  }
  lanes.slice(0, 4).forEach((lane, i) => block.setBigUint64(8 * i, lane, true));
  return new Uint8Array(block.buffer, 0, 32);
}

/** The message by EIP-4361. The service wrote it itself where the challenge was made for one address. */
function messageText({ message, domain, statement, uri, chain, nonce, issued_at, expires_at }, address) {
  return message ?? `${domain} wants you to sign in with your Ethereum account:
${address}

${statement}

URI: ${uri}
Version: 1
Chain ID: ${chain.split(':')[1]}
Nonce: ${nonce}
Issued At: ${issued_at}
Expiration Time: ${expires_at}`;
}

// ------------------------------------------------------------------------------------------------------------ Sign-in

let challengeTimer;
let sessionTimer;

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

function wantedChain() {
  const chains = serviceChains();
  return chains.includes(state.walletChain) ? state.walletChain : chains[0] ?? state.walletChain;
}

/** Whom a challenge must be made for: typed data has the address in it, a text gets it here. */
const boundTo = () => (state.wallet?.typed ? state.address : null);

function ready() {
  const { challenge } = state;
  return challenge?.chain === wantedChain() && challenge.address === boundTo() && serverNow() < challenge.expires;
}

/**
 * Fetches the challenge before it is needed, which is before a wallet is connected, and again before it grows old: a
 * wallet that opens by deep link must be called from the click itself, with nothing awaited in between.
 */
async function prepare() {
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
    if (['choose', 'connected'].includes(state.phase)) renderPortal();
  }
  clearTimeout(challengeTimer);
  if (ready()) challengeTimer = setTimeout(refresh, Math.min(Math.max(state.challenge.renewAt - serverNow(), 5000), LONGEST_TIMER_MS));
}

function refresh() {
  if (!document.hidden && ['choose', 'connected'].includes(state.phase) && state.notice?.about !== 'challenge') prepare();
}

function signIn() {
  const { challenge, wallet, address, walletChain, epoch } = state;
  if (!ready()) {
    renderPortal();
    prepare();
    return;
  }
  const message = messageText(challenge, address);
  const hex = Array.from(new TextEncoder().encode(message), (byte) => byte.toString(16).padStart(2, '0')).join('');
  const signing = wallet.typed
    ? ask(wallet, 'eth_signTypedData_v4', [address, JSON.stringify(challenge.typed_data)])
    : ask(wallet, 'personal_sign', [`0x${hex}`, address]);
  Object.assign(state, { phase: 'signing', notice: null });
  renderPortal();
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
    else renderPortal();
    return;
  }
  if (epoch === state.epoch) check({ epoch, holder, body: { message, signature, scheme } });
}

async function check(attempt) {
  const { epoch, holder, body } = attempt;
  const { session } = state;
  Object.assign(state, { phase: 'checking', notice: null });
  renderPortal();
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
    const late = ['message-not-current', 'expired-nonce'].includes(error.code);
    backToSignIn(late ? { kind: 'calm', text: 'The message expired before it was signed. Here is a new one: sign in again.' } : explainFailure(error, () => check(attempt)));
  }
}

function backToSignIn(notice) {
  Object.assign(state, { phase: 'connected', notice });
  renderPortal();
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
  renderPortal(true);
  announce('Signed in.');
  if (holders().join() !== checked) checkGates();
}

// ------------------------------------------------------------------------------------------------------------ Session

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
    if (state.phase === 'signed-in') renderPortal();
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
function sessionEnded(token = state.session?.token) {
  if (!state.session || state.session.token !== token) return;
  state.session = null;
  if (['signed-in', 'checking'].includes(state.phase)) state.phase = 'connected';
  state.notice = { kind: 'calm', text: 'Your session has ended. Sign in again to go on.' };
  announce(state.notice.text, true);
  renderPortal();
  if (!state.address) forgetGates();
  prepare();
}

async function signOut(everywhere) {
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
      renderPortal();
      return;
    }
  }
  if (session !== state.session) return;
  state.session = null;
  retreat({ kind: 'calm', text: everywhere ? 'Signed out everywhere.' : 'Signed out.' });
  $('portal-title').focus({ preventScroll: true });
}

async function switchChain(chain) {
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
  renderPortal();
}

// ------------------------------------------------------------------------------------------------------- Sign-in panel

function renderPortal(takeFocus = false) {
  const { phase, session } = state;
  const [title, view] = {
    choose: [session ? 'Add another wallet' : 'Sign in with a wallet', chooseView],
    connecting: ['Waiting for your wallet', waitingView],
    connected: ['Prove it is yours', connectedView],
    signing: ['Waiting for your signature', waitingView],
    checking: ['Checking your signature', waitingView],
    'signed-in': ['You are signed in', signedInView],
  }[phase];
  $('portal-title').textContent = title;
  $('doorway').dataset.state = session ? 'open' : phase === 'choose' ? 'closed' : 'ajar';
  replace($('portal'), $('portal-title'), noticeElement(state.notice, 'portal'), view());
  if (takeFocus) $('portal-title').focus({ preventScroll: true });
}

function chooseView() {
  if (state.wallets.size === 0) {
    if (state.searching) return h('p', { class: 'quiet' }, 'Looking for wallets…');
    return [
      h('p', null, 'No wallet was found in this browser.'),
      h('p', { class: 'quiet' }, 'Install a wallet extension, or open this page in your wallet’s own browser.'),
      h('button', { type: 'button', id: 'look-again', click: lookForWallets }, 'Look again'),
    ];
  }
  return [h('ul', { class: 'wallets', 'aria-label': 'Wallets' }, [...state.wallets.values()].map((wallet) =>
    h('li', null, h('button', { type: 'button', class: 'wallet', id: wallet.id, click: () => connect(wallet) },
      wallet.icon ? h('img', { src: wallet.icon, alt: '', width: 28, height: 28 }) : h('span', { class: 'wallet-mark', 'aria-hidden': 'true' }, [...wallet.name][0] ?? '·'),
      h('span', { class: 'wallet-name' }, wallet.name),
      wallet.note && h('span', { class: 'wallet-note' }, wallet.note))))),
    state.session && h('button', { type: 'button', class: 'plain', id: 'back', click: backToSession }, 'Back'),
  ];
}

function backToSession() {
  Object.assign(state, state.session.holder, { phase: 'signed-in', notice: null });
  renderPortal(true);
}

function waitingView() {
  const { phase, wallet, challenge } = state;
  if (phase === 'checking') return h('p', { class: 'waiting' }, 'The service checks it. That of a contract wallet is checked on its chain.');
  return [
    h('p', { class: 'waiting' }, phase === 'signing' ? `Read the message in ${wallet.name} and sign it there.` : `Answer the request in ${wallet.name}.`),
    phase === 'signing' && h('p', { class: 'quiet' }, `A wallet of several owners may need all of them. The message is good until ${clockTime(challenge.expires)}; leave this page open.`),
    h('button', { type: 'button', class: 'plain', id: 'cancel', click: () => retreat() }, 'Cancel'),
  ];
}

function connectedView() {
  const chain = wantedChain();
  const elsewhere = chain && state.walletChain !== chain;
  return [
    h('p', { class: 'who' }, shortAddress(state.address), h('span', { class: 'quiet' }, ` in ${state.wallet.name}`)),
    elsewhere && h('div', { class: 'notice notice-wait', id: 'wrong-chain' },
      h('p', null, `Your wallet is on ${state.walletChain ? chainName(state.walletChain) : 'another network'}; these gates read ${chainName(chain)}. If your wallet refuses to sign, switch first.`),
      h('p', { class: 'notice-action' }, h('button', { type: 'button', class: 'small', id: 'switch-chain', click: () => switchChain(chain) }, `Switch to ${chainName(chain)}`))),
    h('button', { type: 'button', class: 'primary', id: 'sign-in', disabled: !ready(), click: signIn }, ready() ? 'Sign in' : 'Preparing…'),
    ready() && h('details', { class: 'message' }, h('summary', { id: 'message-summary' }, 'What you will sign'), h('pre', { tabindex: '0', 'aria-label': 'The message' }, messageText(state.challenge, state.address))),
    h('button', { type: 'button', class: 'plain', id: 'other-wallet', click: () => retreat() }, 'Use another wallet'),
  ];
}

function signedInView() {
  const { wallets, providers, expires, ends } = state.session;
  return [
    h('ul', { 'aria-label': 'Signed in' }, wallets.map(({ address, chain }) =>
      h('li', { class: 'who' }, shortAddress(address), h('span', { class: 'quiet' }, ` in ${providers.get(address)?.name ?? 'a wallet'}`, chain && `, on ${chainName(chain)} only`)))),
    h('p', { class: 'quiet' }, `Until ${clockTime(expires)} · `, countdown(expires), ' left'),
    expires < ends && h('p', { class: 'quiet' }, `While you use this page it goes on, until ${clockTime(ends)}.`),
    h('button', { type: 'button', id: 'add-wallet', click: () => retreat() }, 'Add another wallet'),
    h('button', { type: 'button', id: 'sign-out', click: () => signOut(false) }, 'Sign out'),
    h('button', { type: 'button', class: 'plain', id: 'sign-out-everywhere', click: () => signOut(true) }, 'Sign out everywhere'),
  ];
}

// -------------------------------------------------------------------------------------------------------------- Gates

async function loadGates() {
  try {
    const { gates } = await api('/v1/gates');
    state.gates = gates.map((description) => new GateCard(description));
    replace($('gates'), $('gates'), state.gates.length ? state.gates.map((gate) => gate.element) : h('p', { class: 'quiet' }, 'This service guards nothing yet.'));
    if (holders().length) checkGates();
    renderPortal();
    prepare();
  } catch (error) {
    const notice = explainFailure(error, loadGates);
    replace($('gates'), $('gates'), noticeElement(notice, 'gates'));
    announce(notice.text, true);
  }
}

async function checkGates() {
  const queue = [...state.gates];
  const worker = async () => { for (let gate = queue.shift(); gate; gate = queue.shift()) await gate.check(); };
  await Promise.all([worker(), worker(), worker(), worker()]);
}

const forgetGates = () => state.gates.forEach((gate) => gate.forget());

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

// ------------------------------------------------------------------------------------------------------- Requirements

const STANDARDS = { erc721: 'ERC-721', erc1155: 'ERC-1155', erc20: 'ERC-20', erc4907: 'ERC-4907' };
const KINDS = [...Object.keys(STANDARDS), 'native', 'erc6551_owner', 'call', 'allowlist', 'time'];
const COMPARISONS = { '==': 'is', '!=': 'is not', '<': 'is less than', '<=': 'is at most', '>': 'is more than', '>=': 'is at least' };

/** The explanations for several wallets as one: a condition is met where one of them meets it by itself. */
function together([first, ...others]) {
  const parts = (of) => of(first).map((_, i) => together([first, ...others].map((tree) => of(tree)[i])));
  if (first.any) return { any: parts((tree) => tree.any) };
  if (first.all) return { all: parts((tree) => tree.all) };
  if (first.at_least?.of) return { at_least: { ...first.at_least, of: parts((tree) => tree.at_least.of) } };
  if (first.not) return { not: parts((tree) => [tree.not])[0] };
  // Not everything is counted: a list or a contract may say anything.
  const count = (has) => (/^\d+$/.test(has ?? '') ? BigInt(has) : -1n);
  const most = (a, b) => (a.met === true || b.met === false && (a.met == null || count(a.has) >= count(b.has)) ? a : b);
  return others.reduce(most, first);
}

/** Whether an explanation comes to yes, no or neither (null), by Kleene's tables. */
function holds(tree) {
  if (tree.not) return { true: false, false: true }[holds(tree.not)] ?? null;
  const parts = (tree.any ?? tree.all ?? tree.at_least?.of)?.map(holds);
  if (!parts) return tree.met ?? null;
  const needed = tree.any ? 1 : tree.all ? parts.length : tree.at_least.count;
  const count = (...truths) => parts.filter((part) => truths.includes(part)).length;
  return count(true) >= needed ? true : count(true, null) >= needed ? null : false;
}

/** A gate's requirement, or its explanation, as nested lists. */
function requirement(tree) {
  const branch = (label, parts) => h('div', { class: 'branch' }, h('p', { class: 'branch-label' }, label), h('ul', null, parts.map((part) => h('li', null, requirement(part)))));
  if (Array.isArray(tree?.any)) return branch('Any of these', tree.any);
  if (Array.isArray(tree?.all)) return branch('All of these', tree.all);
  if (Array.isArray(tree?.at_least?.of)) return branch(`At least ${tree.at_least.count} of these`, tree.at_least.of);
  if (tree?.not) return branch('Not this', [tree.not]);
  const kind = KINDS.find((name) => tree?.[name]);
  if (!kind) return h('p', { class: 'leaf' }, 'A requirement that this page does not know');
  const verdict = tree.met === true ? 'met' : tree.met === false ? 'unmet' : 'unknown';
  return h('p', { class: `leaf leaf-${verdict}` },
    h('span', { class: 'lamp', 'aria-hidden': 'true' }),
    h('span', null, leafInWords(kind, tree[kind]),
      verdict !== 'unknown' && h('span', { class: 'sr-only' }, verdict === 'met' ? ', met:' : ', not met:'),
      tree.has !== undefined && h('span', { class: 'has' }, hasInWords(kind, tree.has))));
}

function leafInWords(kind, leaf) {
  if (kind === 'time') return spanInWords(leaf);
  if (kind === 'allowlist') return leaf.merkle_root ? 'A place on a list that the service knows by its Merkle root' : `A place on a list of ${leaf.addresses} address${leaf.addresses === 1 ? '' : 'es'}`;
  const at = ` on ${chainName(leaf.chain)}`;
  const of = leaf.contract ? [' ', shortAddress(leaf.contract), at] : at;
  if (kind === 'erc6551_owner') return ['The token-bound account ', shortAddress(leaf.account), at];
  if (kind === 'call') return [`${callInWords(leaf)} ${COMPARISONS[leaf.compare] ?? leaf.compare} ${leaf.value === '$address' ? 'your address' : readable(leaf.value)}, by the contract`, of];
  const amount = readable(leaf.at_least);
  const ids = (leaf.token_ids ?? []).map(readable).join(', ');
  const single = leaf.token_ids?.length === 1 && /^\d+$/.test(leaf.token_ids[0]);
  if (kind === 'native') return [`At least ${amount} wei`, of];
  if (kind === 'erc20') return [`At least ${amount} units of the ERC-20 token`, of];
  if (kind === 'erc1155') return [`At least ${amount} of token ${ids} in the ERC-1155 contract`, of];
  if (kind === 'erc4907') return [single ? `The use of token ${ids} of the ERC-4907 collection` : `The use of at least ${amount} of tokens ${ids} in the ERC-4907 collection`, of];
  if (ids) return [single ? `Token ${ids} of the ERC-721 collection` : `At least ${amount} of tokens ${ids} in the ERC-721 collection`, of];
  return [amount === '1' ? 'A token of the ERC-721 collection' : `At least ${amount} tokens of the ERC-721 collection`, of];
}

/** Which value of which function: `stakeOf` or, where the value has a name, `amount of stakeOf`. */
function callInWords({ function: signature, returns }) {
  const name = /^\s*(?:function\s+)?([\w$]+)/.exec(signature)?.[1] ?? signature;
  return returns === undefined || /^\d+$/.test(returns) ? name : `${returns} of ${name}`;
}

function spanInWords({ from, until }) {
  const time = (text) => new Date(text).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });
  if (from && until) return `From ${time(from)} until ${time(until)}`;
  return from ? `From ${time(from)} on` : `Until ${time(until)}`;
}

function hasInWords(kind, has) {
  if (has === null) return 'not known';
  switch (kind) {
    case 'time': return 'by the service’s clock';
    case 'allowlist': return { 'on the list': 'you are on it', 'not on the list': 'you are not on it' }[has] ?? 'nothing shows that you are on it';
    case 'call': return `it says ${readable(has)}`;
    case 'erc6551_owner': return has === '0' ? 'it is not yours' : 'it is yours';
    case 'erc4907': return has === '0' ? 'you use none' : `you use ${readable(has)}`;
    default: return has === '0' ? 'you hold none' : `you hold ${readable(has)}`;
  }
}

/** One entry of a 403's `unmet`: `needs` is the service's own wording. */
function unmetInWords(leaf) {
  const has = hasInWords(leaf.kind, leaf.has ?? null);
  const wanted = String(leaf.needs).startsWith('not ') ? 'Not this: ' : '';
  if (leaf.kind === 'time') return [wanted, spanInWords(leaf), '.'];
  if (leaf.kind === 'allowlist') return [wanted, leafInWords(leaf.kind, leaf), `; ${has}.`];
  if (leaf.kind === 'erc6551_owner') return [wanted, leafInWords(leaf.kind, leaf), `; ${has}.`];
  const what = leaf.kind === 'call' ? ['The contract ', shortAddress(String(leaf.contract)), ' on ']
    : STANDARDS[leaf.kind] ? [`${STANDARDS[leaf.kind]} `, shortAddress(String(leaf.contract)), ' on '] : 'The balance on ';
  const ids = Array.isArray(leaf.token_ids) ? `, token ${leaf.token_ids.map(readable).join(', ')}` : '';
  return [what, chainName(String(leaf.chain)), ids, `: needs ${readable(leaf.needs)}; `, has, '.'];
}

// ------------------------------------------------------------------------------------------------------------ Preview

async function showObject(place, name, href) {
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

// -------------------------------------------------------------------------------------------------------------- Start

async function start() {
  $('host').textContent = location.host;
  const config = await api('/config.json').catch(() => ({}));
  if (config.demo_rpc_url) {
    state.demoRpc = config.demo_rpc_url;
    for (const { id, name, note, address } of DEMO_WALLETS) addWallet({ id, name, note, provider: demoProvider(config.demo_rpc_url, address) });
  }
  discoverWallets();
  await loadGates();
}

start();
