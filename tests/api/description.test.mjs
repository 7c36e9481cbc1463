// The service answers as its description says: every answer below is held against `GET /openapi.json`.
//
// TOKENGATE_URL: the service, with the demo's gates and objects. TOKENGATE_RPC_URL: its chain, to deploy a contract on.
// TOKENGATE_EVENTS_SECRET: what its source of events, `tests`, signs with by the Standard Webhooks specification.
// TOKENGATE_ADMIN_TOKEN: the operator's token.

import assert from 'node:assert/strict';
import { createHmac, randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { after, before, beforeEach, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';

import Ajv2020 from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import {
  createTestClient, encodeFunctionData, getAddress, hashMessage, http as transport, parseAbi, publicActions,
  serializeErc6492Signature, walletActions,
} from 'viem';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { serializeErc8010Signature } from 'viem/utils';

const service = required('TOKENGATE_URL');

// The first two well-known development keys: one owns the demo's tokens, the other nothing.
const owner = privateKeyToAccount('0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80');
const stranger = privateKeyToAccount('0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d');
const anybody = () => privateKeyToAccount(generatePrivateKey());
const CHAIN = 'eip155:31337';
const HELLO = 'media/season-1/hello.txt';
const NODE = `0x${'ab'.repeat(32)}`;
// One of the demo's: an account with code that knows nothing of signatures.
const TOKEN_CONTRACT = '0x5FbDB2315678afecb367f032d93F642f64180aa3';

// What no request can bring about while the chain, the store and the configuration are well.
const FAULTS = ['chain-unavailable', 'store-unavailable', 'internal-error'];
const OUT_OF_REACH = [
  // What needs a clock set forward.
  'expired-nonce', 'expired-session',
  // What needs a request that breaks off, or that takes its time.
  'incomplete-body', 'request-timeout',
  // What needs a nonce of another configured chain: the demo has one.
  'wrong-chain',
  // What needs a source of a kind whose networks have names of their own.
  'unknown-network',
];
// What needs more reads from chains than the demo's gates have anybody make. Tests over simulated ports reach it.
const BEYOND_THE_DEMO = [
  'POST /v1/access 422 too-many-reads', 'POST /v1/access 429 too-many-requests',
  'GET /v1/content/{resource} 422 too-many-reads', 'GET /v1/content/{resource} 429 too-many-requests',
  'HEAD /v1/content/{resource} 422', 'HEAD /v1/content/{resource} 429',
  'GET /v1/gates/{id}/check 422 too-many-reads',
];
// What is answered where nothing is described.
const GENERAL = ['malformed-target', 'method-not-allowed', 'route-not-found'];
// What the embedded host answers itself, before or in place of a function.
const HOST = ['bad-request', 'head-too-large', 'overloaded', 'timed-out'];

// What every answer may have, described once for all, and what belongs to the connection.
const EVERYWHERE = [
  'cache-control', 'connection', 'content-length', 'content-type', 'date', 'keep-alive', 'referrer-policy', 'server-timing',
  'transfer-encoding', 'x-content-type-options',
];

function required(name) {
  const value = process.env[name];
  assert.ok(value, `${name} is not set`);
  return value.replace(/\/$/, '');
}

let description;
let ajv;
const seen = new Set();

// Each test is a client of its own, by its network address, because clients are limited: all of 127.0.0.0/8 is this machine.
let client;
let clients = 1;
const anotherClient = () => { client = `127.0.0.${++clients}`; };
beforeEach(anotherClient);

const agent = new http.Agent({ keepAlive: true });
after(() => agent.destroy());

/** Longer bodies are announced, and not sent. */
const MOST_SENT = 1_048_576;

/** Sends a request with exactly these header fields, which `fetch` would not. */
function send(method, target, { headers = {}, body } = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request(`${service}${target}`, { method, headers, agent, localAddress: client }, async (response) => {
      try {
        response.setEncoding('utf8');
        let text = '';
        for await (const part of response) text += part;
        resolve({ status: response.statusCode, headers: response.headers, text });
        if (!request.writableEnded) request.destroy();
      } catch (error) {
        reject(error);
      }
    });
    request.on('error', reject);
    if (body?.length > MOST_SENT) {
      // Answered by its length alone: whoever sends it all the same writes to a connection that is being closed.
      request.setHeader('content-length', body.length);
      request.flushHeaders();
    } else {
      request.end(body);
    }
  });
}

before(async () => {
  anotherClient();
  const reply = await send('GET', '/openapi.json');
  assert.equal(reply.status, 200);
  description = JSON.parse(reply.text);
  ajv = new Ajv2020({ strict: false, allErrors: true });
  addFormats(ajv);
  ajv.addSchema(description, 'description');
});

const pointer = (...parts) => `#/${parts.map((part) => encodeURIComponent(String(part).replaceAll('~', '~0').replaceAll('/', '~1'))).join('/')}`;

/** What `node` describes, and where it stands. */
function resolve(node, at) {
  if (!node?.$ref) return [node, at];
  const parts = node.$ref.slice(2).split('/');
  return [parts.reduce((value, part) => value[part], description), node.$ref];
}

function validator(schemaAt) {
  const validate = ajv.getSchema(`description${schemaAt}`);
  assert.ok(validate, `no schema at ${schemaAt}`);
  return validate;
}

function conforms(value, schemaAt, what) {
  const validate = validator(schemaAt);
  assert.ok(validate(value), `${what} ${JSON.stringify(value)}: ${ajv.errorsText(validate.errors)}`);
}

/** Holds a request that was answered against the description: what is taken is described, and nothing else is. */
function judgeRequest(path, method, query, body, reply, what) {
  const item = description.paths[path];
  const operation = item[method];
  if (reply.status < 400) {
    const place = { parameters: item.parameters, [`${method}/parameters`]: operation.parameters };
    const parameters = Object.entries(place)
      .flatMap(([at, list]) => (list ?? []).map((parameter, index) => [parameter, `${pointer('paths', path)}/${at}/${index}/schema`]))
      .filter(([parameter]) => parameter.in === 'query');
    const given = new URLSearchParams(query);
    for (const [name, value] of given) {
      const found = parameters.find(([parameter]) => parameter.name === name);
      assert.ok(found, `${what}: ${name} is not described`);
      conforms(value, found[1], `${what} ${name}`);
    }
    for (const [{ name, required: always }] of parameters) assert.ok(given.has(name) || !always, `${what} without ${name}`);
  }
  if (body === undefined || !operation.requestBody) return;
  const schemaAt = pointer('paths', path, method, 'requestBody', 'content', 'application/json', 'schema');
  if (reply.status < 400) conforms(JSON.parse(body), schemaAt, `${what}, its body`);
  if (reply.code === 'malformed-body') {
    let parsed;
    try {
      parsed = JSON.parse(body);
    } catch {
      return;
    }
    assert.ok(!validator(schemaAt)(parsed), `${what}: the description takes the body ${body}`);
  }
}

/** Sends a request to a described operation and holds the answer against the description. */
async function call(method, path, { parameters = {}, query = '', token, cookie, json, body, headers = {} } = {}) {
  const operation = description.paths[path]?.[method.toLowerCase()];
  assert.ok(operation, `${method} ${path} is not described`);
  const target = path.replace(/\{(\w+)\}/g, (_, name) => parameters[name]);
  const content = json !== undefined ? JSON.stringify(json) : body;
  const reply = await send(method, `${target}${query}`, {
    headers: {
      ...(content !== undefined ? { 'content-type': 'application/json' } : {}),
      ...(token ? { authorization: `Bearer ${token}` } : {}),
      ...(cookie ? { cookie: `__Host-tokengate=${cookie}` } : {}),
      ...headers,
    },
    body: content,
  });
  const what = `${method} ${target}${query} → ${reply.status}`;
  const [response, at] = resolve(operation.responses[reply.status], pointer('paths', path, method.toLowerCase(), 'responses', reply.status));
  assert.ok(response, `${what} is not described: ${reply.text}`);

  const described = Object.keys(response.headers ?? {}).map((name) => name.toLowerCase());
  for (const name of Object.keys(reply.headers)) {
    assert.ok(described.includes(name) || EVERYWHERE.includes(name), `${what}: ${name} is not described`);
  }
  for (const [name, header] of Object.entries(response.headers ?? {})) {
    const [{ required: always, schema }, headerAt] = resolve(header);
    // What may come more than once comes as a list; none of ours does.
    const value = [reply.headers[name.toLowerCase()] ?? []].flat();
    assert.ok(value.length <= 1 && (value.length === 1 || !always), `${what} has ${value.length} ${name}`);
    if (value.length) conforms(schema.type === 'integer' ? Number(value[0]) : value[0], `${headerAt}/schema`, `${what} ${name}`);
  }

  let parsed = null;
  if (method === 'HEAD' || !response.content) {
    assert.equal(reply.text, '', `${what} has content`);
  } else {
    const [mediaType] = Object.keys(response.content);
    assert.equal(reply.headers['content-type']?.split(';')[0], mediaType, what);
    parsed = JSON.parse(reply.text);
    conforms(parsed, `${at}${pointer('content', mediaType, 'schema').slice(1)}`, what);
  }
  let code = '';
  if (reply.status >= 400 && parsed?.code) {
    code = parsed.code;
    assert.equal(parsed.status, reply.status);
    assert.equal(parsed.type, `/problems/${code}`);
    const listed = Object.values(response.content['application/problem+json'].examples).map((example) => example.value.code);
    assert.ok(listed.includes(code), `${what} is described without the code ${code}`);
  }
  judgeRequest(path, method.toLowerCase(), query, content, { status: reply.status, code }, what);
  seen.add(`${method} ${path} ${reply.status} ${code}`.trim());
  return { status: reply.status, headers: reply.headers, json: parsed, code };
}

async function challenge(account, query = '') {
  const reply = await call('GET', '/v1/challenge', { query: `?chain=${CHAIN}${account ? `&address=${account.address}` : ''}${query}` });
  assert.equal(reply.status, 200, JSON.stringify(reply.json));
  return reply.json;
}

/** Signs `account` in by the signature that `sign` makes of the challenge. */
async function signInBy(account, sign, { more = {}, ...request } = {}) {
  const asked = await challenge(account);
  const { message } = asked;
  const json = { message, signature: await sign(asked), ...more };
  return { ...await call('POST', '/v1/session', { ...request, json }), message };
}

/** Signs an account in, and answers where its session is. */
async function signIn(account, request = {}) {
  const reply = await signInBy(account, ({ message }) => account.signMessage({ message }), request);
  assert.equal(reply.status, 201, JSON.stringify(reply.json));
  return { ...reply, ...opened(reply) };
}

/** The token of a session that was just opened, or its cookie: always one of them. */
function opened({ json, headers }) {
  const cookie = headers['set-cookie']?.[0].match(/^__Host-tokengate=([^;]+)/)[1];
  assert.ok(Boolean(json.token) !== Boolean(cookie), 'a session is in the body or in the cookie');
  return { token: json.token, cookie };
}

const token = async (account) => (await signIn(account)).token;

async function refused(expected, ...request) {
  const { status, code } = await call(...request);
  assert.equal(`${status} ${code}`, expected);
}

/** The same, once the instance that answers has heard of it: what was ended is believed open by the others for up to a second. */
async function refusedSoon(expected, ...request) {
  const deadline = Date.now() + 1500;
  let told;
  do {
    const { status, code } = await call(...request);
    told = `${status} ${code}`;
    if (told === expected) return;
    await setTimeout(50);
  } while (Date.now() < deadline);
  assert.equal(told, expected);
}

const ours = { origin: service, 'sec-fetch-site': 'same-origin' };
const theirs = { origin: 'https://elsewhere.example', 'sec-fetch-site': 'cross-site' };

test('the description is one: its examples are as its schemas say, and its codes are all somewhere', () => {
  const codes = new Set([...GENERAL, ...HOST]);
  const walk = (node, at) => {
    if (node === null || typeof node !== 'object') return;
    if (node.schema) {
      const examples = Object.entries(node.examples ?? {}).map(([name, example]) => [name, example.value]);
      if (node.example !== undefined) examples.push(['example', node.example]);
      for (const [name, value] of examples) {
        conforms(value, `${at}/schema`, `${at} ${name}`);
        if (value.code) {
          assert.equal(name, value.code);
          codes.add(value.code);
        }
      }
    }
    for (const [name, part] of Object.entries(node)) walk(part, `${at}${pointer(name).slice(1)}`);
  };
  walk(description.paths, '#/paths');
  walk(description.components, '#/components');
  for (const [name, schema] of Object.entries(description.components.schemas)) {
    for (const example of schema.examples ?? []) conforms(example, pointer('components', 'schemas', name), name);
  }
  assert.deepEqual([...codes].sort(), description.components.schemas.Problem.properties.code.enum);
  for (const code of [...FAULTS, ...OUT_OF_REACH]) assert.ok(codes.has(code), code);
});

test('challenges', async () => {
  const { message, typed_data: typedData, ...members } = await challenge(owner);
  assert.ok(message.includes(`\nNonce: ${members.nonce}\n`));
  assert.deepEqual([typedData.message.account, typedData.message.nonce, typedData.message.issuedAt], [owner.address, members.nonce, members.issued_at]);
  const named = await challenge(owner, `&domain=${new URL(service).host}`);
  assert.deepEqual([named.domain, named.uri], [new URL(service).host, service]);
  const open = await challenge();
  assert.deepEqual([open.message, open.typed_data, open.chain], [null, null, CHAIN]);
  const ask = (expected, query) => refused(expected, 'GET', '/v1/challenge', { query });
  await ask('400 malformed-query', `?address=${owner.address}`);
  await ask('400 malformed-query', `?chain=${CHAIN}&colour=red`);
  await ask('400 malformed-query', `?chain=${CHAIN}&chain=${CHAIN}`);
  await ask('400 malformed-address', `?address=${owner.address.replace('F', 'f')}&chain=${CHAIN}`);
  await ask('400 malformed-chain', `?address=${owner.address}&chain=1`);
  await ask('422 unknown-chain', `?address=${owner.address}&chain=eip155:999999`);
  await ask('422 unknown-domain', `?address=${owner.address}&chain=${CHAIN}&domain=elsewhere.example`);
});

test('signing in by a key', async () => {
  const { json } = await signIn(owner);
  assert.deepEqual([json.address, json.wallets, json.chain], [owner.address, [{ address: owner.address, chain: null }], CHAIN]);
  const typed = await signInBy(owner, ({ typed_data: data }) => owner.signTypedData(data), { more: { scheme: 'eip712' } });
  assert.equal(typed.status, 201);
  await signIn(owner, { more: { scheme: 'eip191', link: true, cookie: false } });

  // What a page writes itself, from a challenge that was asked for before there was an account.
  const { domain, uri, statement, nonce, issued_at: issued, expires_at: expires } = await challenge();
  const message = `${domain} wants you to sign in with your Ethereum account:\n${owner.address}\n\n${statement}\n\nURI: ${uri}\nVersion: 1\nChain ID: 31337\nNonce: ${nonce}\nIssued At: ${issued}\nExpiration Time: ${expires}`;
  const signature = await owner.signMessage({ message });
  assert.equal((await call('POST', '/v1/session', { json: { message, signature } })).status, 201);
  await refused('401 nonce-reused', 'POST', '/v1/session', { json: { message, signature } });

  assert.ok((await signIn(owner, { more: { cookie: true }, headers: ours })).cookie);
  assert.ok((await signIn(owner, { more: { cookie: true } })).cookie, 'no browser says who sent it');
  for (const headers of [theirs, { ...ours, 'sec-fetch-site': 'cross-site' }, { ...theirs, 'sec-fetch-site': 'same-origin' }]) {
    const { status, code } = await signInBy(owner, ({ message: text }) => owner.signMessage({ message: text }), { more: { cookie: true }, headers });
    assert.equal(`${status} ${code}`, '403 cross-site');
  }
});

test('signing in by a contract', async () => {
  const chain = createTestClient({ mode: 'anvil', transport: transport(required('TOKENGATE_RPC_URL')), pollingInterval: 20 }).extend(publicActions).extend(walletActions);
  const artefact = async (path) => JSON.parse(await readFile(new URL(`../node_modules/@safe-global/safe-contracts/build/artifacts/contracts/${path}`, import.meta.url), 'utf8'));
  const deploy = async (path) => {
    const hash = await chain.deployContract({ account: stranger, chain: null, abi: [], bytecode: (await artefact(path)).bytecode });
    return (await chain.waitForTransactionReceipt({ hash })).contractAddress;
  };
  // One of the factories that the service knows, at its canonical address.
  const factory = '0x4e1DCf7AD4e460CfD30791CCC4F9c8a4f820ec67';
  await chain.setCode({ address: factory, bytecode: (await artefact('proxies/SafeProxyFactory.sol/SafeProxyFactory.json')).deployedBytecode });
  const singleton = await deploy('Safe.sol/Safe.json');
  const handler = await deploy('handler/CompatibilityFallbackHandler.sol/CompatibilityFallbackHandler.json');
  const abi = parseAbi([
    'function setup(address[] owners, uint256 threshold, address to, bytes data, address fallbackHandler, address paymentToken, uint256 payment, address paymentReceiver)',
    'function createProxyWithNonce(address singleton, bytes initializer, uint256 saltNonce) returns (address)',
  ]);
  const none = '0x0000000000000000000000000000000000000000';
  const initializer = encodeFunctionData({ abi, functionName: 'setup', args: [[owner.address], 1n, none, '0x', handler, none, 0n, none] });
  const creation = (number) => ({ address: factory, abi, functionName: 'createProxyWithNonce', args: [singleton, initializer, BigInt(number)] });
  const account = { address: (await chain.simulateContract(creation(1))).result };
  const hashSignedBy = (by) => ({ message }) => by.sign({ hash: hashMessage(message) });
  const signedBy = (by) => ({ message }) => by.signTypedData({
    domain: { chainId: 31337, verifyingContract: account.address },
    types: { SafeMessage: [{ name: 'message', type: 'bytes' }] },
    primaryType: 'SafeMessage', message: { message: hashMessage(message) },
  });
  const wrapped = (by, number) => async (asked) => serializeErc6492Signature({
    address: factory, signature: await signedBy(by)(asked), data: encodeFunctionData(creation(number)),
  });
  const attempt = async (expected, who, sign) => {
    const { status, code, json } = await signInBy(who, sign);
    assert.equal(`${status} ${code}`.trim(), expected, JSON.stringify(json));
    if (status === 201) assert.deepEqual(json.wallets, [{ address: getAddress(who.address), chain: CHAIN }]);
  };
  await attempt('201', account, wrapped(owner, 1));
  await attempt('401 account-not-deployed', account, wrapped(owner, 2));
  await attempt('401 signature-refused', account, wrapped(stranger, 1));
  await attempt('401 signature-mismatch', account, signedBy(owner));
  await chain.waitForTransactionReceipt({ hash: await chain.writeContract({ account: stranger, chain: null, ...creation(1) }) });
  await attempt('201', account, signedBy(owner));
  await attempt('401 signature-refused', account, signedBy(stranger));
  await attempt('401 signature-refused', { address: TOKEN_CONTRACT }, () => '0x');

  const delegated = anybody();
  const delegation = (by, chainId) => async (asked) => serializeErc8010Signature({
    authorization: await by.signAuthorization({ address: TOKEN_CONTRACT, chainId, nonce: 0 }),
    signature: await hashSignedBy(stranger)(asked),
  });
  await attempt('401 account-not-delegated', delegated, delegation(delegated, 1));
  await attempt('401 account-not-delegated', delegated, delegation(stranger, 31337));
});

test('what signs nobody in', async () => {
  const post = (expected, request) => refused(expected, 'POST', '/v1/session', request);
  const asked = await challenge(owner);
  const { message } = asked;
  const signature = await owner.signMessage({ message });
  await post('401 signature-mismatch', { json: { message, signature: await stranger.signMessage({ message }) } });
  await post('401 signature-mismatch', { json: { message, signature, scheme: 'eip712' } });
  const elsewhere = 'elsewhere.example';
  for (const [code, altered] of [
    ['401 wrong-domain', message.replace(/^\S+/, elsewhere)],
    ['401 wrong-uri', message.replace(/URI: \S+/, `URI: https://${elsewhere}`)],
    ['401 message-expired', message.replace(/Expiration Time: \S+/, 'Expiration Time: 2020-01-01T00:00:00Z')],
    ['401 invalid-nonce', message.replace(/Nonce: \S+/, 'Nonce: abcdefgh')],
    ['401 invalid-nonce', message.replace(owner.address, stranger.address)],
    ['422 unknown-chain', message.replace('Chain ID: 31337', 'Chain ID: 999999')],
  ]) await post(code, { json: { message: altered, signature: await owner.signMessage({ message: altered }) } });

  await post('400 malformed-body', { body: '{' });
  await post('400 malformed-body', { body: '[]' });
  await post('400 malformed-body', { json: { message } });
  await post('400 malformed-body', { json: { message, signature, colour: 'red' } });
  await post('400 malformed-body', { json: { message, signature, scheme: 'EIP-191' } });
  await post('400 malformed-body', { json: { message, signature, cookie: 'yes' } });
  await post('413 body-too-large', { json: { message: 'x'.repeat(70_000), signature } });
  await post('415 unsupported-media-type', { json: { message, signature }, headers: { 'content-type': 'text/plain' } });
  await post('422 malformed-message', { json: { message: 'hello', signature } });
  await post('422 malformed-signature', { json: { message, signature: '0x00' } });
  await post('422 malformed-signature', { json: { message, signature: 'by hand' } });
});

test('adding wallets', async () => {
  let session = {};
  const wallets = [];
  for (let index = 0; index < 8; index += 1) {
    const account = anybody();
    wallets.unshift({ address: account.address, chain: null });
    const reply = await signIn(account, { token: session.token });
    assert.deepEqual(reply.json.wallets, wallets);
    if (session.token) await refused('401 revoked-session', 'GET', '/v1/session', { token: session.token });
    session = reply;
  }
  const ninth = anybody();
  const add = async (expected, request) => {
    const { status, code } = await signInBy(ninth, ({ message }) => ninth.signMessage({ message }), request);
    assert.equal(`${status} ${code}`, expected);
  };
  await add('422 too-many-wallets', { token: session.token });
  await add('401 invalid-session', { token: 'made.up' });
  await call('DELETE', '/v1/session', { token: session.token });
  await add('401 revoked-session', { token: session.token });
  assert.equal((await signIn(ninth, { token: session.token, more: { link: false } })).json.wallets.length, 1);

  const byCookie = await signIn(anybody(), { more: { cookie: true }, headers: ours });
  const linked = await signIn(ninth, { cookie: byCookie.cookie, more: { cookie: true }, headers: ours });
  assert.equal(linked.json.wallets.length, 2);
  await add('403 cross-site', { cookie: linked.cookie, more: { cookie: true } });
  assert.equal((await signIn(ninth, { cookie: byCookie.cookie, more: { cookie: true }, headers: ours })).json.wallets.length, 1, 'that cookie has ended');
});

test('showing and renewing', async () => {
  const account = anybody();
  const [bearer, browser] = [await signIn(account), await signIn(account, { more: { cookie: true } })];
  for (const { token: live, cookie, json } of [bearer, browser]) {
    const shown = await call('GET', '/v1/session', { token: live, cookie });
    assert.equal(shown.status, 200);
    assert.deepEqual([shown.json.wallets, shown.json.ends_at], [json.wallets, json.ends_at]);
    const renewed = await call('POST', '/v1/session/renew', { token: live, cookie, headers: live ? {} : ours });
    assert.equal(renewed.status, 200);
    assert.equal(renewed.json.ends_at, json.ends_at);
    const next = opened(renewed);
    assert.deepEqual([Boolean(next.token), Boolean(next.cookie)], [Boolean(live), Boolean(cookie)], 'as it came');
    assert.equal((await call('GET', '/v1/session', next)).status, 200);
  }
  await refused('403 cross-site', 'POST', '/v1/session/renew', { cookie: browser.cookie });
  await refused('403 cross-site', 'POST', '/v1/session/renew', { cookie: browser.cookie, headers: theirs });
  await refused('413 body-too-large', 'POST', '/v1/session/renew', { token: bearer.token, body: 'x'.repeat(70_000) });
  await call('DELETE', '/v1/session', { token: bearer.token });
  for (const [method, path] of [['GET', '/v1/session'], ['POST', '/v1/session/renew']]) {
    await refused('400 malformed-query', method, path, { token: bearer.token, query: '?colour=red' });
    await refused('401 missing-session', method, path);
    await refused('401 invalid-session', method, path, { token: 'made.up' });
    await refused('401 invalid-session', method, path, { headers: { ...ours, cookie: `__Host-tokengate=${browser.cookie}; __Host-tokengate=${browser.cookie}` } });
    await refused('401 revoked-session', method, path, { token: bearer.token });
  }
});

test('signing out', async () => {
  const account = anybody();
  const [first, second, third] = [await token(account), await token(account), await token(account)];
  const { cookie } = await signIn(account, { more: { cookie: true } });
  const end = (request) => call('DELETE', '/v1/session', request);
  await refused('400 malformed-query', 'DELETE', '/v1/session', { token: first, query: '?everywhere=perhaps' });
  await refused('401 missing-session', 'DELETE', '/v1/session');
  await refused('401 invalid-session', 'DELETE', '/v1/session', { token: 'made.up' });
  await refused('403 cross-site', 'DELETE', '/v1/session', { cookie, headers: theirs });
  assert.equal((await end({ token: first, query: '?everywhere=false' })).status, 204);
  assert.equal((await end({ cookie, headers: ours })).status, 204);
  await refused('401 revoked-session', 'DELETE', '/v1/session', { token: first });
  assert.equal((await call('GET', '/v1/session', { token: third })).status, 200, 'another session');
  assert.equal((await end({ token: second, query: '?everywhere=true' })).status, 204);
  for (const ended of [first, second, third]) await refusedSoon('401 revoked-session', 'POST', '/v1/access', { token: ended, json: { resource: HELLO } });
  await refusedSoon('401 revoked-session', 'GET', '/v1/content/{resource}', { token: third, parameters: { resource: HELLO } });
  await refusedSoon('401 revoked-session', 'GET', '/v1/content/{resource}', { cookie, parameters: { resource: HELLO } });
});

test('access', async () => {
  const [holder, other] = [await token(owner), await token(stranger)];
  const { cookie } = await signIn(owner, { more: { cookie: true } });
  for (const json of [{ resource: HELLO }, { resource: HELLO, method: 'HEAD', disposition: 'attachment' }, { resource: HELLO, vault: stranger.address }, { resource: HELLO, proof: [NODE] }]) {
    assert.equal((await call('POST', '/v1/access', { token: holder, json })).json.gate, 'season-1');
  }
  assert.equal((await call('POST', '/v1/access', { cookie, headers: ours, json: { resource: HELLO } })).json.gate, 'season-1');
  const batch = await call('POST', '/v1/access', { token: holder, json: { vault: stranger.address, resources: [HELLO, { resource: 'media/holders/report.txt' }, 'media/nowhere/x', 'media/../x'] } });
  assert.deepEqual(batch.json.results.map((result) => result.problem?.code ?? 'granted'), ['granted', 'granted', 'unknown-resource', 'malformed-resource']);
  const refusals = await call('POST', '/v1/access', { token: other, json: { resources: [HELLO, HELLO] } });
  assert.deepEqual(refusals.json.results.map(({ problem }) => [problem.code, 'unmet' in problem]), [['access-denied', true], ['access-denied', false]]);

  const post = (expected, request) => refused(expected, 'POST', '/v1/access', { token: holder, ...request });
  await post('401 missing-session', { token: undefined, json: { resource: HELLO } });
  await post('401 invalid-session', { token: 'made.up', json: { resource: HELLO } });
  await post('403 access-denied', { token: other, json: { resource: HELLO } });
  await post('403 access-denied', { token: other, json: { resource: HELLO, vault: owner.address } });
  await post('403 cross-site', { token: undefined, cookie, json: { resource: HELLO } });
  await post('404 unknown-resource', { json: { resource: 'media/nowhere/x' } });
  await post('400 malformed-resource', { json: { resource: 'media/../x' } });
  await post('400 malformed-address', { json: { resource: HELLO, vault: '0x12' } });
  await post('400 malformed-proof', { json: { resource: HELLO, proof: ['0x12'] } });
  await post('400 malformed-proof', { json: { resource: HELLO, proof: Array(65).fill(NODE) } });
  await post('400 malformed-body', { json: { resource: HELLO, method: 'PUT' } });
  await post('400 malformed-body', { json: { resource: HELLO, resources: [HELLO] } });
  await post('400 malformed-body', { json: { resources: [{ resource: HELLO, vault: stranger.address }] } });
  await post('413 body-too-large', { json: { resource: 'x'.repeat(70_000) } });
  await post('415 unsupported-media-type', { json: { resource: HELLO }, headers: { 'content-type': 'text/plain' } });
  await post('422 resource-count', { json: { resources: [] } });
  await post('422 resource-count', { json: { resources: Array(101).fill(HELLO) } });
});

for (const method of ['GET', 'HEAD']) {
  test(`content by ${method}`, async () => {
    const [holder, other] = [await token(owner), await token(stranger)];
    const { cookie } = await signIn(owner, { more: { cookie: true } });
    const get = (request) => call(method, '/v1/content/{resource}', request);
    for (const request of [{ token: holder }, { token: holder, query: '?disposition=attachment' }, { token: holder, query: `?vault=${stranger.address}` }, { token: holder, query: `?proof=${NODE},${NODE}` }, { cookie, headers: theirs }]) {
      assert.equal((await get({ ...request, parameters: { resource: HELLO } })).status, 302);
    }
    for (const [status, code, request] of [
      [400, 'malformed-query', { token: holder, query: '?colour=red', parameters: { resource: HELLO } }],
      [400, 'malformed-query', { token: holder, query: '?disposition=sideways', parameters: { resource: HELLO } }],
      [400, 'malformed-address', { token: holder, query: '?vault=0x12', parameters: { resource: HELLO } }],
      [400, 'malformed-proof', { token: holder, query: `?proof=${NODE},0x12`, parameters: { resource: HELLO } }],
      [400, 'malformed-resource', { token: holder, parameters: { resource: 'media/season-1/a%2Fb' } }],
      [401, 'missing-session', { parameters: { resource: HELLO } }],
      [401, 'invalid-session', { token: 'made.up', parameters: { resource: HELLO } }],
      [403, 'access-denied', { token: other, parameters: { resource: HELLO } }],
      [404, 'unknown-resource', { token: holder, parameters: { resource: 'media/nowhere/x' } }],
    ]) {
      const reply = await get(request);
      assert.equal(reply.status, status);
      if (method === 'GET') assert.equal(reply.code, code);
    }
  });
}

test('gates', async () => {
  const { json: { gates } } = await call('GET', '/v1/gates');
  assert.ok(gates.length >= 3);
  for (const { gate } of gates) {
    assert.equal((await call('GET', '/v1/gates/{id}', { parameters: { id: gate } })).status, 200);
    for (const account of [owner, stranger]) {
      for (const vault of ['', `&vault=${owner.address}`]) {
        const { json: check } = await call('GET', '/v1/gates/{id}/check', { parameters: { id: gate }, query: `?address=${account.address}${vault}` });
        assert.equal(check.granted, account === owner, 'none of these gates takes delegates');
      }
    }
  }
  await refused('400 malformed-query', 'GET', '/v1/gates', { query: '?colour=red' });
  await refused('400 malformed-query', 'GET', '/v1/gates/{id}', { parameters: { id: 'season-1' }, query: '?colour=red' });
  await refused('404 unknown-gate', 'GET', '/v1/gates/{id}', { parameters: { id: 'nowhere' } });
  await refused('404 unknown-gate', 'GET', '/v1/gates/{id}/check', { parameters: { id: 'nowhere' }, query: `?address=${owner.address}` });
  await refused('400 malformed-query', 'GET', '/v1/gates/{id}/check', { parameters: { id: 'season-1' } });
  await refused('400 malformed-address', 'GET', '/v1/gates/{id}/check', { parameters: { id: 'season-1' }, query: '?address=0x12' });
  await refused('400 malformed-address', 'GET', '/v1/gates/{id}/check', { parameters: { id: 'season-1' }, query: `?address=${owner.address}&vault=0x12` });
  await refused('400 malformed-proof', 'GET', '/v1/gates/{id}/check', { parameters: { id: 'season-1' }, query: `?address=${owner.address}&proof=0x12` });
});

test('events', async () => {
  const key = Buffer.from(required('TOKENGATE_EVENTS_SECRET').replace(/^whsec_/, ''), 'base64');
  const now = () => Math.floor(Date.now() / 1000);
  /** A delivery with the header fields that sign it, whose changes are not signed. */
  const delivery = (json, { id = randomUUID(), time = now(), ...changed } = {}) => {
    const body = JSON.stringify(json);
    const signature = `v1,${createHmac('sha256', key).update(`${id}.${time}.${body}`).digest('base64')}`;
    const headers = { 'webhook-id': id, 'webhook-timestamp': String(time), 'webhook-signature': signature };
    return { parameters: { source: 'tests' }, body, headers, ...changed };
  };
  const word = (hex) => `0x${hex.toLowerCase().replace('0x', '').padStart(64, '0')}`;
  const log = {
    address: TOKEN_CONTRACT,
    topics: ['0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef', word(owner.address), word(stranger.address), word('0')],
    data: '0x',
    blockNumber: '0x1',
  };
  const content = { chain: CHAIN, logs: [log, { ...log, data: null, removed: true }, 'no log'] };
  const send = (request) => call('POST', '/v1/events/{source}', request);
  await token(owner).then((session) => call('POST', '/v1/access', { token: session, json: { resource: HELLO } }));
  const first = delivery(content);
  const { json: answer } = await send(first);
  assert.deepEqual([answer.logs, answer.transfers, answer.skipped, answer.replayed], [2, 2, 1, false]);
  assert.equal((await send(first)).json.replayed, true);
  assert.equal((await send(delivery({ ...content, chain: 'eip155:1' }))).json.ignored, 'other-chain');
  assert.equal((await send(delivery({ ...content, padding: 'x'.repeat(900_000) }))).status, 200, 'longer than other bodies');

  const post = (expected, request) => refused(expected, 'POST', '/v1/events/{source}', request);
  await post('400 malformed-body', delivery({}));
  await post('400 chain-not-named', delivery({ logs: [log] }));
  await post('401 missing-signature', delivery(content, { headers: {} }));
  await post('401 invalid-signature', delivery(content, { body: '{"logs":[]}' }));
  await post('401 timestamp-out-of-range', delivery(content, { time: now() - 400 }));
  await post('404 unknown-source', delivery(content, { parameters: { source: 'nowhere' } }));
  // The connection is not kept after this.
  await post('413 body-too-large', delivery({ ...content, padding: 'x'.repeat(1_048_576) }, { headers: { connection: 'close' } }));
});

test('following transfers', async () => {
  const admin = required('TOKENGATE_ADMIN_TOKEN');
  const watch = (request) => call('POST', '/v1/admin/watch', request);
  const { status, json: { chains } } = await watch({ token: admin });
  assert.equal(status, 200);
  assert.deepEqual(chains.map(({ chain, behind }) => [chain, behind]), [[CHAIN, 0]]);
  assert.equal((await watch({ token: admin, json: {} })).status, 200, 'a body is not looked at');
  await refused('400 malformed-query', 'POST', '/v1/admin/watch', { token: admin, query: '?colour=red' });
  await refused('413 body-too-large', 'POST', '/v1/admin/watch', { token: admin, body: 'x'.repeat(70_000) });
  await refused('401 no-admin-token', 'POST', '/v1/admin/watch');
  await refused('401 invalid-admin-token', 'POST', '/v1/admin/watch', { token: `${admin}x` });
  await refused('401 invalid-admin-token', 'POST', '/v1/admin/watch', { headers: { authorization: 'Basic YTpi' } });
});

test('reading ahead', async () => {
  const admin = required('TOKENGATE_ADMIN_TOKEN');
  const addresses = [owner.address, stranger.address.toLowerCase()];
  const warm = (json) => call('POST', '/v1/admin/warm', { token: admin, json });
  const { json: first } = await warm({ addresses });
  assert.ok(first.gates >= 3 && first.facts.wanted > 0, JSON.stringify(first));
  assert.deepEqual([first.addresses, first.facts.read + first.facts.known], [2, first.facts.wanted]);
  // Not what the deliveries above were about.
  const { json: second } = await warm({ gates: ['pass'], addresses });
  assert.deepEqual([second.gates, second.facts.read, second.facts.known], [1, 0, second.facts.wanted]);

  const post = (expected, request) => refused(expected, 'POST', '/v1/admin/warm', { token: admin, ...request });
  await post('400 malformed-query', { json: { addresses }, query: '?colour=red' });
  await post('400 malformed-body', { body: '{' });
  await post('400 malformed-body', { json: {} });
  await post('400 malformed-body', { json: { addresses: owner.address } });
  await post('400 malformed-body', { json: { gates: 'season-1', addresses } });
  await post('400 malformed-body', { json: { addresses, colour: 'red' } });
  await post('400 malformed-address', { json: { addresses: [owner.address, '0x12'] } });
  await post('400 malformed-address', { json: { addresses: [owner.address.replace('F', 'f')] } });
  await post('401 no-admin-token', { token: undefined, json: { addresses } });
  await post('401 invalid-admin-token', { token: `${admin}x`, json: { addresses } });
  await post('404 unknown-gate', { json: { gates: ['season-1', 'nowhere'], addresses } });
  await post('413 body-too-large', { body: 'x'.repeat(70_000) });
  await post('415 unsupported-media-type', { json: { addresses }, headers: { 'content-type': 'text/plain' } });
  await post('422 address-count', { json: { addresses: [] } });
  await post('422 address-count', { json: { addresses: Array(501).fill(owner.address) } });
});

test('health and the description itself', async () => {
  assert.equal((await call('GET', '/healthz/live')).json.status, 'ok');
  assert.equal((await call('GET', '/healthz/ready')).json.status, 'ok');
  assert.equal((await call('GET', '/openapi.json')).status, 200);
});

test('paths and methods that are not described are refused', async () => {
  assert.equal((await send('GET', '/v1/nowhere')).status, 404);
  for (const [path, item] of Object.entries(description.paths)) {
    const target = path.replace('{resource}', HELLO).replace('{id}', 'season-1').replace('{source}', 'tests');
    for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
      if (item[method.toLowerCase()] || (method === 'HEAD' && item.get)) continue;
      const reply = await send(method, target);
      assert.equal(reply.status, 405, `${method} ${target}`);
      const allowed = reply.headers.allow.split(', ');
      assert.ok(!allowed.includes(method), `${method} ${target}: Allow: ${allowed}`);
      if (method === 'HEAD') continue;
      const problem = JSON.parse(reply.text);
      assert.equal(problem.code, 'method-not-allowed');
      conforms(problem, '#/components/schemas/Problem', `${method} ${target}`);
    }
  }
});

test('limits', async () => {
  /** Asks until it was too often. A window of time may end meanwhile, and instances of the service may be behind each other. */
  const wearOut = async (policy, ask) => {
    for (let count = 0; count < 500; count += 1) {
      const { status, headers } = await ask();
      if (status !== 429) continue;
      assert.match(headers.ratelimit, new RegExp(`^"${policy}";r=0;t=${headers['retry-after']}$`));
      return;
    }
    assert.fail(`never too often for ${policy}`);
  };
  const ask = (account) => call('GET', '/v1/challenge', { query: `?chain=${CHAIN}${account ? `&address=${account.address}` : ''}` });

  // Challenges for an account, of one client only.
  const account = anybody();
  await wearOut('address', () => ask(account));
  anotherClient();
  assert.equal((await ask(account)).status, 200, 'of another client');
  // Sign-ins of an account, whichever clients they come from.
  await wearOut('address', async () => {
    anotherClient();
    return signInBy(account, ({ message }) => account.signMessage({ message }));
  });
  // All that one client asks for. The count is the client's, so the first wears out what the others have.
  anotherClient();
  await wearOut('client', () => ask());
  await wearOut('client', () => call('POST', '/v1/session', { body: '{' }));
  await wearOut('client', () => call('GET', '/v1/gates/{id}/check', { parameters: { id: 'season-1' }, query: `?address=${owner.address}` }));
  await wearOut('client', () => call('GET', '/healthz/ready'));
  await wearOut('client', () => call('POST', '/v1/events/{source}', { parameters: { source: 'nowhere' }, body: '{}' }));
  await wearOut('admin', () => call('POST', '/v1/admin/watch', { token: 'made up' }));
  await wearOut('admin', () => call('POST', '/v1/admin/warm', { token: 'made up', json: { addresses: [owner.address] } }));
});

// Last: what is described and was never answered is either out of reach here, or not true.
after(() => {
  const unseen = [];
  for (const [path, item] of Object.entries(description.paths)) {
    for (const [method, operation] of Object.entries(item)) {
      if (method === 'parameters') continue;
      for (const status of Object.keys(operation.responses)) {
        const [response] = resolve(operation.responses[status]);
        const examples = Object.values(response.content?.['application/problem+json']?.examples ?? {});
        const codes = method === 'head' || !examples.length ? [''] : examples.map((example) => example.value.code);
        for (const code of codes) {
          const line = `${method.toUpperCase()} ${path} ${status} ${code}`.trim();
          const reachable = code ? ![...FAULTS, ...OUT_OF_REACH].includes(code) : !['500', '503'].includes(status);
          if (reachable && !seen.has(line) && !BEYOND_THE_DEMO.includes(line)) unseen.push(line);
        }
      }
    }
  }
  assert.deepEqual(unseen, []);
});
