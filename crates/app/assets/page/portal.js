// The sign-in panel.

import { $, chainName, h, replace, shortAddress } from './dom.js';
import { messageText } from './message.js';
import { backToSession, connect, ready, retreat, signIn, signOut, switchChain, wantedChain } from './session.js';
import { state } from './state.js';
import { clockTime, countdown, noticeElement } from './time.js';
import { lookForWallets } from './wallets.js';

export function renderPortal(takeFocus = false) {
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
