// The demo of scripts/up: two wallets over the accounts of a development chain, its tokens and its files.
// Used only where the service names such a chain.

import { REQUEST_TIMEOUT_MS } from './api.js';

/** The first two well-known accounts of a development chain. */
export const DEMO_WALLETS = [
  { id: 'demo-owner', name: 'Owner', note: 'holds the tokens', address: '0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266' },
  { id: 'demo-stranger', name: 'Stranger', note: 'holds nothing', address: '0x70997970C51812dc3A010C7d01b50e0d17dc79C8' },
];

/** The demo's chain. */
export const DEMO_CHAIN = 'eip155:31337';

/** By address in lower case. A symbol and decimals are a contract's own word, so none are read from other chains. */
export const DEMO_TOKENS = {
  '0x9fe46736679d2d9a65f0992f2272de9f3c7fa6e0': { symbol: 'HOLD', decimals: 18 },
};

/** Objects in the demo's bucket. */
export const DEMO_OBJECTS = ['media/season-1/hello.txt', 'media/season-1/cover.svg', 'media/season-1/episodes/1.txt', 'media/pass/backstage.txt', 'media/holders/report.txt'];

/** An EIP-1193 provider over a development node, which signs with its unlocked accounts. */
export function demoProvider(rpc, address) {
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
