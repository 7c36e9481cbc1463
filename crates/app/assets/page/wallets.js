// Wallets in the browser (EIP-6963, EIP-1193): discovery, requests and their errors.

import { page, state } from './state.js';

export function addWallet(wallet) {
  state.wallets.set(wallet.id, wallet);
  if (state.phase === 'choose') page.render();
}

/** What a wallet says of itself is untrusted: shown as text, without characters that change how the rest reads. */
function announced({ detail }) {
  const { uuid, name, icon } = detail?.info ?? {};
  if (typeof uuid !== 'string' || typeof name !== 'string' || typeof detail.provider?.request !== 'function') return;
  const id = `wallet-${uuid}`;
  if (state.wallets.has(id)) return; // every request is answered by all, and no wallet replaces another
  state.wallets.delete('legacy');
  const safeName = name.replace(/\p{C}/gu, '').trim().slice(0, 60) || 'Wallet without a name';
  const safeIcon = typeof icon === 'string' && /^data:image\/(svg\+xml|png|webp|gif|jpeg)[;,]/.test(icon) ? icon : null;
  addWallet({ id, name: safeName, icon: safeIcon, provider: detail.provider });
}

export function discoverWallets() {
  window.addEventListener('eip6963:announceProvider', announced);
  window.addEventListener('ethereum#initialized', adoptLegacy, { once: true });
  lookForWallets();
}

export function lookForWallets() {
  state.searching = true;
  page.render();
  window.dispatchEvent(new Event('eip6963:requestProvider'));
  // Extensions inject at their own pace; an empty list is only honest after a moment.
  setTimeout(() => {
    adoptLegacy();
    state.searching = false;
    if (state.phase === 'choose') page.render();
  }, 400);
}

/** `window.ethereum` is the wallet's that wrote it last: it is used only where no wallet announces itself. */
function adoptLegacy() {
  const provider = window.ethereum;
  if (typeof provider?.request !== 'function' || [...state.wallets.keys()].some((id) => id.startsWith('wallet-'))) return;
  addWallet({ id: 'legacy', name: 'Browser wallet', provider });
}

// A wallet may throw where it should reject; what it is asked for leaves before this returns.
export const ask = async (wallet, method, params = []) => wallet.provider.request({ method, params });

/** What a wallet's error means (EIP-1193 §4.1, EIP-1474 §2, EIP-3326). */
export function explainWalletError(error, doing) {
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

export const caip2 = (hex) => (/^0x[0-9a-fA-F]{1,15}$/.test(hex) ? `eip155:${Number.parseInt(hex, 16)}` : null);
