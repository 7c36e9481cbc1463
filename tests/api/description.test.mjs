// The service answers as its description says: every answer below is held against `GET /openapi.json`.
//
// TOKENGATE_URL: the service, with the demo's gates and objects.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import Ajv2020 from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { privateKeyToAccount } from 'viem/accounts';

const service = required('TOKENGATE_URL');

// The first two well-known development keys: one owns the demo's tokens, the other nothing.
const owner = privateKeyToAccount('0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80');
const stranger = privateKeyToAccount('0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d');
const CHAIN = 'eip155:31337';
const HELLO = 'media/season-1/hello.txt';

// What no request can bring about while the chain, the store and the configuration are well.
const FAULTS = ['chain-unavailable', 'store-unavailable', 'misconfigured'];
// What needs a clock set forward, or a request that breaks off.
const OUT_OF_REACH = ['expired-nonce', 'expired-session', 'body-unreadable', 'body-too-slow'];

function required(name) {
  const value = process.env[name];
  assert.ok(value, `${name} is not set`);
  return value.replace(/\/$/, '');
}

let description;
let ajv;
const seen = new Set();

before(async () => {
  const reply = await fetch(`${service}/openapi.json`);
  assert.equal(reply.status, 200);
  description = await reply.json();
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

function conforms(value, schemaAt, what) {
  const validate = ajv.getSchema(`description${schemaAt}`);
  assert.ok(validate, `no schema at ${schemaAt}`);
  assert.ok(validate(value), `${what} ${JSON.stringify(value)}: ${ajv.errorsText(validate.errors)}`);
}

/** Sends a request to a described operation and holds the answer against the description. */
async function call(method, path, { parameters = {}, query = '', token, json, body, headers = {} } = {}) {
  const operation = description.paths[path]?.[method.toLowerCase()];
  assert.ok(operation, `${method} ${path} is not described`);
  const target = path.replace(/\{(\w+)\}/g, (_, name) => parameters[name]);
  const reply = await fetch(`${service}${target}${query}`, {
    method, redirect: 'manual',
    headers: { ...(json !== undefined || body !== undefined ? { 'content-type': 'application/json' } : {}), ...(token ? { authorization: `Bearer ${token}` } : {}), ...headers },
    body: json !== undefined ? JSON.stringify(json) : body,
  });
  const text = await reply.text();
  const what = `${method} ${target}${query} → ${reply.status}`;
  const [response, at] = resolve(operation.responses[reply.status], pointer('paths', path, method.toLowerCase(), 'responses', reply.status));
  assert.ok(response, `${what} is not described: ${text}`);

  for (const [name, header] of Object.entries(response.headers ?? {})) {
    const [described, headerAt] = resolve(header);
    const value = reply.headers.get(name);
    if (described.required) assert.ok(value !== null, `${what} has no ${name}`);
    if (value !== null) conforms(described.schema.type === 'integer' ? Number(value) : value, `${headerAt}/schema`, `${what} ${name}`);
  }

  let parsed = null;
  if (method === 'HEAD' || !response.content) {
    assert.equal(text, '', `${what} has content`);
  } else {
    const [mediaType] = Object.keys(response.content);
    assert.equal(reply.headers.get('content-type')?.split(';')[0], mediaType, what);
    parsed = JSON.parse(text);
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
  seen.add(`${method} ${path} ${reply.status} ${code}`.trim());
  return { status: reply.status, headers: reply.headers, json: parsed, code };
}

async function challenge(account, query = '') {
  const reply = await call('GET', '/v1/challenge', { query: `?address=${account.address}&chain=${CHAIN}${query}` });
  assert.equal(reply.status, 200);
  return reply.json;
}

async function signIn(account, more = {}) {
  const { message } = await challenge(account);
  const reply = await call('POST', '/v1/session', { json: { message, signature: await account.signMessage({ message }), ...more } });
  assert.equal(reply.status, 201);
  return { ...reply, message };
}

const token = async (account) => (await signIn(account)).json.token;

async function refused(expected, ...request) {
  const { status, code } = await call(...request);
  assert.equal(`${status} ${code}`, expected);
}

test('challenges', async () => {
  await challenge(owner);
  await challenge(owner, `&domain=${new URL(service).host}`);
  const ask = (expected, query) => refused(expected, 'GET', '/v1/challenge', { query });
  await ask('400 malformed-query', `?chain=${CHAIN}`);
  await ask('400 malformed-query', `?address=${owner.address}&chain=${CHAIN}&colour=red`);
  await ask('400 malformed-address', `?address=${owner.address.replace('F', 'f')}&chain=${CHAIN}`);
  await ask('400 malformed-chain', `?address=${owner.address}&chain=1`);
  await ask('422 unknown-chain', `?address=${owner.address}&chain=eip155:999999`);
  await ask('422 unknown-domain', `?address=${owner.address}&chain=${CHAIN}&domain=elsewhere.example`);
});

test('signing in', async () => {
  const { headers, message } = await signIn(owner, { cookie: true });
  assert.match(headers.get('set-cookie'), /^__Host-tokengate=/);
  const post = (expected, request) => refused(expected, 'POST', '/v1/session', request);
  const signature = await owner.signMessage({ message });
  await post('401 used-nonce', { json: { message, signature } });

  const fresh = (await challenge(owner)).message;
  await post('401 signature-mismatch', { json: { message: fresh, signature: await stranger.signMessage({ message: fresh }) } });
  for (const [code, altered] of [
    ['wrong-domain', fresh.replace(/^\S+/, 'elsewhere.example')],
    ['wrong-uri', fresh.replace(/URI: \S+/, 'URI: https://elsewhere.example')],
    ['message-not-current', fresh.replace(/Expiration Time: \S+/, 'Expiration Time: 2020-01-01T00:00:00Z')],
    ['foreign-nonce', fresh.replace(/Nonce: \S+/, 'Nonce: abcdefgh')],
  ]) await post(`401 ${code}`, { json: { message: altered, signature: await owner.signMessage({ message: altered }) } });

  await post('400 malformed-body', { body: '{' });
  await post('400 malformed-body', { json: { message, signature, colour: 'red' } });
  await post('413 body-too-large', { json: { message: 'x'.repeat(70_000), signature } });
  await post('415 not-json', { json: { message, signature }, headers: { 'content-type': 'text/plain' } });
  await post('422 malformed-message', { json: { message: 'hello', signature } });
  await post('422 malformed-signature', { json: { message: fresh, signature: '0x00' } });
  const elsewhere = fresh.replace('Chain ID: 31337', 'Chain ID: 999999');
  await post('422 unknown-chain', { json: { message: elsewhere, signature: await owner.signMessage({ message: elsewhere }) } });
});

test('signing out', async () => {
  const live = await token(owner);
  await refused('401 no-session', 'DELETE', '/v1/session');
  await refused('401 invalid-session', 'DELETE', '/v1/session', { token: 'made.up' });
  assert.equal((await call('DELETE', '/v1/session', { token: live })).status, 204);
  await refused('401 revoked-session', 'DELETE', '/v1/session', { token: live });
  await refused('401 revoked-session', 'POST', '/v1/access', { token: live, json: { resource: HELLO } });
  await refused('401 revoked-session', 'GET', '/v1/content/{resource}', { token: live, parameters: { resource: HELLO } });
});

test('access', async () => {
  const [holder, other] = [await token(owner), await token(stranger)];
  for (const json of [{ resource: HELLO }, { resource: HELLO, method: 'HEAD', disposition: 'attachment' }]) {
    assert.equal((await call('POST', '/v1/access', { token: holder, json })).json.gate, 'season-1');
  }
  const batch = await call('POST', '/v1/access', { token: holder, json: { resources: [HELLO, { resource: 'media/holders/report.txt' }, 'media/nowhere/x', 'media/../x'] } });
  assert.deepEqual(batch.json.results.map((result) => result.problem?.code ?? 'granted'), ['granted', 'granted', 'unknown-resource', 'malformed-resource']);
  const refusals = await call('POST', '/v1/access', { token: other, json: { resources: [HELLO] } });
  assert.equal(refusals.json.results[0].problem.code, 'refused');

  const post = (expected, request) => refused(expected, 'POST', '/v1/access', { token: holder, ...request });
  await post('401 no-session', { token: undefined, json: { resource: HELLO } });
  await post('401 invalid-session', { token: 'made.up', json: { resource: HELLO } });
  await post('403 refused', { token: other, json: { resource: HELLO } });
  await post('404 unknown-resource', { json: { resource: 'media/nowhere/x' } });
  await post('400 malformed-resource', { json: { resource: 'media/../x' } });
  await post('400 malformed-body', { json: { resource: HELLO, method: 'PUT' } });
  await post('413 body-too-large', { json: { resource: 'x'.repeat(70_000) } });
  await post('415 not-json', { json: { resource: HELLO }, headers: { 'content-type': 'text/plain' } });
  await post('422 resource-count', { json: { resources: [] } });
  await post('422 resource-count', { json: { resources: Array(101).fill(HELLO) } });
});

for (const method of ['GET', 'HEAD']) {
  test(`content by ${method}`, async () => {
    const { json: { token: holder } } = await signIn(owner);
    const other = await token(stranger);
    const get = (request) => call(method, '/v1/content/{resource}', request);
    for (const request of [{ token: holder }, { token: holder, query: '?disposition=attachment' }, { headers: { cookie: `__Host-tokengate=${holder}` } }]) {
      assert.equal((await get({ ...request, parameters: { resource: HELLO } })).status, 302);
    }
    for (const [status, code, request] of [
      [400, 'malformed-query', { token: holder, query: '?colour=red', parameters: { resource: HELLO } }],
      [400, 'malformed-resource', { token: holder, parameters: { resource: 'media/season-1/a%2Fb' } }],
      [401, 'no-session', { parameters: { resource: HELLO } }],
      [401, 'invalid-session', { token: 'made.up', parameters: { resource: HELLO } }],
      [403, 'refused', { token: other, parameters: { resource: HELLO } }],
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
      const { json: check } = await call('GET', '/v1/gates/{id}/check', { parameters: { id: gate }, query: `?address=${account.address}` });
      assert.equal(check.granted, account === owner);
    }
  }
  await refused('400 malformed-query', 'GET', '/v1/gates', { query: '?colour=red' });
  await refused('400 malformed-query', 'GET', '/v1/gates/{id}', { parameters: { id: 'season-1' }, query: '?colour=red' });
  await refused('404 unknown-gate', 'GET', '/v1/gates/{id}', { parameters: { id: 'nowhere' } });
  await refused('404 unknown-gate', 'GET', '/v1/gates/{id}/check', { parameters: { id: 'nowhere' }, query: `?address=${owner.address}` });
  await refused('400 malformed-query', 'GET', '/v1/gates/{id}/check', { parameters: { id: 'season-1' } });
  await refused('400 malformed-address', 'GET', '/v1/gates/{id}/check', { parameters: { id: 'season-1' }, query: '?address=0x12' });
});

test('health and the description itself', async () => {
  assert.equal((await call('GET', '/healthz/live')).json.status, 'ok');
  assert.equal((await call('GET', '/healthz/ready')).json.status, 'ok');
  assert.equal((await call('GET', '/openapi.json')).status, 200);
});

test('paths and methods that are not described are refused', async () => {
  const nowhere = await fetch(`${service}/v1/nowhere`);
  assert.equal(nowhere.status, 404);
  for (const [path, item] of Object.entries(description.paths)) {
    const target = path.replace('{resource}', HELLO).replace('{id}', 'season-1');
    for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
      if (item[method.toLowerCase()] || (method === 'HEAD' && item.get)) continue;
      const reply = await fetch(`${service}${target}`, { method });
      assert.equal(reply.status, 405, `${method} ${target}`);
      const allowed = reply.headers.get('allow').split(', ');
      assert.ok(!allowed.includes(method), `${method} ${target}: Allow: ${allowed}`);
      if (method === 'HEAD') continue;
      const problem = await reply.json();
      assert.equal(problem.code, 'method-not-allowed');
      conforms(problem, '#/components/schemas/Problem', `${method} ${target}`);
    }
  }
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
          if (reachable && !seen.has(line)) unseen.push(line);
        }
      }
    }
  }
  assert.deepEqual(unseen, []);
});
