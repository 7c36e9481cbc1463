// The document: elements made of text nodes and checked attributes, never markup; times and addresses as text.

export const $ = (id) => document.getElementById(id);

export function h(tag, attributes, ...children) {
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
export function replace(parent, fallback, ...children) {
  const focused = parent.contains(document.activeElement) ? document.activeElement.id : null;
  parent.replaceChildren(...children.flat(Infinity).filter(Boolean));
  if (focused !== null) {
    const again = focused && parent.querySelector(`#${CSS.escape(focused)}:not(:disabled)`);
    (again || fallback)?.focus({ preventScroll: true });
  }
}

export function announce(text, urgent = false) {
  $(urgent ? 'alerter' : 'announcer').textContent = text;
}

export function shortAddress(address) {
  return h('code', { class: 'address', title: address }, `${address.slice(0, 6)}…${address.slice(-4)}`);
}

const CHAIN_NAMES = {
  1: 'Ethereum', 10: 'OP Mainnet', 56: 'BNB Smart Chain', 100: 'Gnosis', 137: 'Polygon', 8453: 'Base', 42161: 'Arbitrum One',
  43114: 'Avalanche', 11155111: 'Sepolia', 84532: 'Base Sepolia', 31337: 'the local chain',
};

export const chainName = (chain) => CHAIN_NAMES[chain.split(':')[1]] ?? `chain ${chain.split(':')[1] ?? chain}`;
