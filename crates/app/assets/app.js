// The page: finds wallets (EIP-6963, EIP-1193), signs in (EIP-4361), explains the gates and opens what they guard.
// Each part is a module in page/; the lower ones ask of the upper ones through `page`.

import { api } from './page/api.js';
import { DEMO_WALLETS, demoProvider } from './page/demo.js';
import { $ } from './page/dom.js';
import { checkGates, forgetGates, loadGates } from './page/gates.js';
import { renderPortal } from './page/portal.js';
import { page, state } from './page/state.js';
import { addWallet, discoverWallets } from './page/wallets.js';

Object.assign(page, { render: renderPortal, checkGates, forgetGates });

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
