// Requirements and their explanations, in words.

import { DEMO_CHAIN, DEMO_TOKENS } from './demo.js';
import { chainName, h, shortAddress } from './dom.js';
import { state } from './state.js';

const STANDARDS = { erc721: 'ERC-721', erc1155: 'ERC-1155', erc20: 'ERC-20', erc4907: 'ERC-4907' };
const KINDS = [...Object.keys(STANDARDS), 'native', 'erc6551_owner', 'call', 'allowlist', 'time'];
const COMPARISONS = { '==': 'is', '!=': 'is not', '<': 'is less than', '<=': 'is at most', '>': 'is more than', '>=': 'is at least' };

/** The explanations for several wallets as one: a condition is met where one of them meets it by itself. */
export function together([first, ...others]) {
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
export function holds(tree) {
  if (tree.not) return { true: false, false: true }[holds(tree.not)] ?? null;
  const parts = (tree.any ?? tree.all ?? tree.at_least?.of)?.map(holds);
  if (!parts) return tree.met ?? null;
  const needed = tree.any ? 1 : tree.all ? parts.length : tree.at_least.count;
  const count = (...truths) => parts.filter((part) => truths.includes(part)).length;
  return count(true) >= needed ? true : count(true, null) >= needed ? null : false;
}

/** A gate's requirement, or its explanation, as nested lists. */
export function requirement(tree) {
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
      tree.has !== undefined && h('span', { class: 'has' }, hasInWords(kind, tree.has, tree[kind]))));
}

/** Long digit runs are a token's smallest units: 1000000000000000000000 reads as 1000 × 10¹⁸. */
export function readable(text) {
  return String(text).replace(/\d{10,}/g, (digits) => {
    const zeros = /0*$/.exec(digits)[0].length;
    const shift = zeros >= 18 ? 18 : zeros >= 9 ? 9 : 0;
    if (shift === 0) return BigInt(digits).toLocaleString('en');
    const superscript = [...String(shift)].map((digit) => '⁰¹²³⁴⁵⁶⁷⁸⁹'[digit]).join('');
    return `${BigInt(digits.slice(0, -shift)).toLocaleString('en')}\u00a0×\u00a010${superscript}`;
  });
}

/** Every EVM chain counts its coin in wei, of 18 decimals. */
const COIN = { symbol: 'coins', decimals: 18 };

/** The symbol and decimals of what a leaf counts, where they are known: of a chain's coin, and of the demo's token. */
function unitOf(kind, { chain, contract }) {
  if (kind === 'native') return COIN;
  return kind === 'erc20' && state.demoRpc && chain === DEMO_CHAIN ? DEMO_TOKENS[String(contract).toLowerCase()] : undefined;
}

/** An amount as people write it where its unit is known: 1,000 HOLD. The text may have words before it. */
function amountInWords(kind, text, leaf) {
  const token = unitOf(kind, leaf);
  return token ? `${String(text).replace(/\d+/g, (digits) => inWholeUnits(digits, token.decimals))} ${token.symbol}` : readable(text);
}

/** 1500000000000000000 of 18 decimals: 1.5 */
function inWholeUnits(digits, decimals) {
  const padded = digits.padStart(decimals + 1, '0');
  const whole = BigInt(padded.slice(0, padded.length - decimals)).toLocaleString('en');
  const fraction = padded.slice(padded.length - decimals).replace(/0+$/, '');
  return fraction ? `${whole}.${fraction}` : whole;
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
  const amountOf = amountInWords(kind, leaf.at_least, leaf);
  if (kind === 'native') return [`At least ${amountOf}`, of];
  if (kind === 'erc20') return [`At least ${amountOf}${unitOf(kind, leaf) ? '' : ' units'} of the ERC-20 token`, of];
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

function hasInWords(kind, has, leaf) {
  if (has === null) return 'not known';
  switch (kind) {
    case 'time': return 'by the service’s clock';
    case 'allowlist': return { 'on the list': 'you are on it', 'not on the list': 'you are not on it' }[has] ?? 'nothing shows that you are on it';
    case 'call': return `it says ${readable(has)}`;
    case 'erc6551_owner': return has === '0' ? 'it is not yours' : 'it is yours';
    case 'erc4907': return has === '0' ? 'you use none' : `you use ${readable(has)}`;
    default: return has === '0' ? 'you hold none' : `you hold ${amountInWords(kind, has, leaf)}`;
  }
}

/** One entry of a 403's `unmet`: `needs` is the service's own wording. */
export function unmetInWords(leaf) {
  const has = hasInWords(leaf.kind, leaf.has ?? null, leaf);
  const wanted = String(leaf.needs).startsWith('not ') ? 'Not this: ' : '';
  if (leaf.kind === 'time') return [wanted, spanInWords(leaf), '.'];
  if (leaf.kind === 'allowlist') return [wanted, leafInWords(leaf.kind, leaf), `; ${has}.`];
  if (leaf.kind === 'erc6551_owner') return [wanted, leafInWords(leaf.kind, leaf), `; ${has}.`];
  const what = leaf.kind === 'call' ? ['The contract ', shortAddress(String(leaf.contract)), ' on ']
    : STANDARDS[leaf.kind] ? [`${STANDARDS[leaf.kind]} `, shortAddress(String(leaf.contract)), ' on '] : 'The balance on ';
  const ids = Array.isArray(leaf.token_ids) ? `, token ${leaf.token_ids.map(readable).join(', ')}` : '';
  return [what, chainName(String(leaf.chain)), ids, `: needs ${amountInWords(leaf.kind, leaf.needs, leaf)}; `, has, '.'];
}
