// What the page knows, and what its lower modules ask of its upper ones.

export const state = {
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

/** Who the gates are checked for. */
export const holders = () => (state.session ? [...new Set(state.session.wallets.map(({ address }) => address))] : state.address ? [state.address] : []);

/** What lower modules ask of upper ones; app.js connects them before anything happens. */
export const page = { render: () => {}, checkGates: () => {}, forgetGates: () => {} };
