// The page at `/` in a real browser, against a running demo.
//
// TOKENGATE_URL: the service. TOKENGATE_RPC_URL: its development chain. TOKENGATE_HELLO: what media/season-1/hello.txt holds.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { chromium } from 'playwright-core';
import { hexToString } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';

const service = required('TOKENGATE_URL');
const chain = required('TOKENGATE_RPC_URL');
const hello = required('TOKENGATE_HELLO');

// The first well-known development key, which owns the demo's tokens, and the second, which owns nothing.
const account = privateKeyToAccount('0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80');
const stranger = privateKeyToAccount('0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d');
const ICON = 'data:image/svg+xml,%3Csvg xmlns="http://www.w3.org/2000/svg"/%3E';
const HELLO = 'media/season-1/hello.txt';

function required(name) {
  const value = process.env[name];
  assert.ok(value, `${name} is not set`);
  return value.replace(/\/$/, '');
}

let browser;
before(async () => {
  browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
});
after(() => browser?.close());

/**
 * Opens the page. When the test ends, anything that the browser complained about fails it, but for answers with one of
 * the statuses in `refusals`, which Chromium reports as errors.
 */
async function visit(t, { refusals = [], wallets = [], before: prepare } = {}) {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(`uncaught ${error.stack}`));
  page.on('console', (message) => {
    if (!['error', 'warning'].includes(message.type())) return;
    const status = /status of (\d{3})/.exec(message.text())?.[1];
    if (!refusals.includes(Number(status))) complaints.push(`console ${message.type()}: ${message.text()} ${message.location().url}`);
  });
  await page.exposeFunction('reportViolation', (violation) => complaints.push(`content security policy: ${violation}`));
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => window.reportViolation(`${event.violatedDirective} ${event.blockedURI}`));
  });
  t.after(async () => {
    await context.close();
    assert.deepEqual(complaints, []);
  });
  if (wallets.length) await inject(page, wallets);
  await prepare?.(page);
  await page.goto(`${service}/`);
  await page.locator('article.gate').first().waitFor();
  return page;
}

/**
 * Wallets, each over `account`. `announce`: by EIP-6963; `legacy`: as window.ethereum. `decline` is how many signatures
 * its owner refuses first; `refuses` are methods that it does not have; `chainId` is the network it is on. In the page,
 * window.testWallets[…] has what each was asked in `calls`, and signs nothing before the promise `held`.
 */
async function inject(page, wallets) {
  const keys = [account, stranger];
  await page.exposeFunction('signWithTestWallet', (method, [first, second]) => {
    const address = (method === 'personal_sign' ? second : first).toLowerCase();
    const key = keys.find((key) => key.address.toLowerCase() === address);
    return method === 'personal_sign' ? key.signMessage({ message: hexToString(first) }) : key.signTypedData(JSON.parse(second));
  });
  const described = wallets.map(({ account: key = account, ...wallet }, i) => ({
    announce: true, legacy: false, name: 'Test Wallet', icon: ICON, decline: 0, refuses: [], chainId: '0x7a69',
    address: key.address.toLowerCase(), uuid: `350670db-19fa-4704-a166-e52e178b59d${i}`, ...wallet,
  }));
  await page.addInitScript((described) => {
    window.testWallets = described.map(({ announce, legacy, name, icon, decline, refuses, chainId, address, uuid }) => {
      const listeners = {};
      const refuse = (code, message) => Promise.reject(Object.assign(new Error(message), { code }));
      const provider = {
        calls: [],
        accounts: [address],
        emit: (event, value) => (listeners[event] ?? []).forEach((listener) => listener(value)),
        on: (event, listener) => (listeners[event] ??= []).push(listener),
        removeListener: (event, listener) => { listeners[event] = (listeners[event] ?? []).filter((known) => known !== listener); },
        request({ method, params }) {
          provider.calls.push(method);
          if (refuses.includes(method)) return refuse(4200, `unsupported: ${method}`);
          switch (method) {
            case 'eth_requestAccounts': return Promise.resolve(provider.accounts);
            case 'eth_chainId': return Promise.resolve(chainId);
            case 'wallet_switchEthereumChain':
              chainId = params[0].chainId;
              provider.emit('chainChanged', chainId);
              return Promise.resolve(null);
            case 'personal_sign':
            case 'eth_signTypedData_v4':
              if (decline-- > 0) return refuse(4001, 'User rejected the request.');
              return Promise.resolve(provider.held).then(() => window.signWithTestWallet(method, params));
            default: return refuse(-32601, `unsupported: ${method}`);
          }
        },
      };
      if (legacy) window.ethereum = provider;
      if (announce) {
        const info = Object.freeze({ uuid, name, rdns: 'example.gate.test', icon });
        const say = () => window.dispatchEvent(new CustomEvent('eip6963:announceProvider', { detail: Object.freeze({ info, provider }) }));
        window.addEventListener('eip6963:requestProvider', say);
        say();
      }
      return provider;
    });
  }, described);
}

const walletButton = (page, name) => page.getByRole('list', { name: 'Wallets' }).getByRole('button', { name });
const signInButton = (page) => page.getByRole('button', { name: 'Sign in', exact: true });
const title = (page, text) => page.getByRole('heading', { level: 1, name: text });
const gate = (page, id) => page.getByRole('article', { name: id, exact: true });

/** Signs in and answers what the page sent and the session that the service created. */
async function signIn(page, wallet) {
  await walletButton(page, wallet).click();
  const [reply] = await Promise.all([
    page.waitForResponse((response) => response.url() === `${service}/v1/session` && response.request().method() === 'POST'),
    signInButton(page).click(),
  ]);
  await title(page, 'You are signed in').waitFor();
  return { sent: reply.request().postDataJSON(), ...await reply.json() };
}

/** The requests to the service that the page makes from now on: method and path. */
function requests(page) {
  const seen = [];
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.origin === service) seen.push(`${request.method()} ${url.pathname}`);
  });
  return seen;
}

/** Makes sessions end so many milliseconds after their sign-in unless they are renewed, as far as the page knows. */
const shortSessions = (life) => (page) => page.route(`${service}/v1/session`, async (route) => {
  if (route.request().method() !== 'POST') return route.continue();
  const response = await route.fetch();
  return route.fulfill({ response, json: { ...await response.json(), expires_at: new Date(Date.now() + life).toISOString() } });
});

async function open(page, id, resource) {
  await gate(page, id).getByLabel('File', { exact: true }).fill(resource);
  await gate(page, id).getByRole('button', { name: 'Open', exact: true }).click();
}

const previewOf = (page, id, name) => gate(page, id).getByLabel(`Contents of ${name}`);

test('the owner signs in with the demo wallet and reads the object', async (t) => {
  const page = await visit(t);
  const session = await signIn(page, 'Owner');
  assert.equal(session.address, account.address);
  await gate(page, 'season-1').getByText('Open to you').waitFor();

  await open(page, 'season-1', HELLO);
  const preview = previewOf(page, 'season-1', 'hello.txt');
  await preview.waitFor();
  assert.equal((await preview.textContent()).trim(), hello.trim());

  const link = gate(page, 'season-1').getByRole('link', { name: 'Open hello.txt in a new tab' });
  const object = await fetch(await link.getAttribute('href'));
  assert.equal(object.status, 200);
  assert.equal((await object.text()).trim(), hello.trim());
});

test('an image is shown as one', async (t) => {
  const page = await visit(t);
  await signIn(page, 'Owner');
  await gate(page, 'season-1').getByRole('button', { name: 'cover.svg', exact: true }).click();
  const image = gate(page, 'season-1').getByRole('img', { name: 'cover.svg' });
  await image.waitFor();
  await page.waitForFunction((element) => element.complete && element.naturalWidth > 0, await image.elementHandle());
});

test('the stranger is told which requirement is not met', async (t) => {
  const page = await visit(t, { refusals: [403] });
  await signIn(page, 'Stranger');
  const season = gate(page, 'season-1');
  await season.getByText('Closed to you').waitFor();
  await open(page, 'season-1', HELLO);
  await season.getByText('The gate stays closed for this wallet.').waitFor();
  const unmet = await season.locator('.unmet').innerText();
  assert.match(unmet, /ERC-721 0x5FbD…0aa3 on the local chain.*balance ≥ 1.*you hold none/);
  assert.match(unmet, /ERC-1155/);
  assert.match(unmet, /ERC-20 .*1,000 HOLD/);
  assert.equal(await season.getByRole('link').count(), 0);
  assert.match(await page.locator('#alerter').textContent(), /stays closed/, 'screen readers hear it too');
});

test('a file that no gate covers does not exist', async (t) => {
  const page = await visit(t, { refusals: [404] });
  await signIn(page, 'Owner');
  await open(page, 'season-1', 'media/elsewhere/hello.txt');
  await gate(page, 'season-1').getByText('No gate covers this file').waitFor();
});

test('the challenge is there before any wallet is connected, and a click asks for nothing but the signature', async (t) => {
  let challenge;
  const page = await visit(t, { wallets: [{}], before: (page) => { challenge = page.waitForResponse((response) => response.url().includes('/v1/challenge')); } });
  assert.equal(new URL((await challenge).url()).searchParams.has('address'), false);
  const { nonce } = await (await challenge).json();
  assert.deepEqual(await page.evaluate(() => window.testWallets[0].calls), [], 'no wallet was asked for anything yet');

  const seen = requests(page);
  await walletButton(page, 'Test Wallet').click();
  await gate(page, 'season-1').getByText('Open to you').waitFor();
  assert.equal(seen.includes('GET /v1/challenge'), false, 'the one at hand serves every account');
  await page.waitForLoadState('networkidle');
  seen.length = 0;
  const called = await signInButton(page).evaluate((button) => {
    window.testWallets[0].held = new Promise((release) => { window.release = release; });
    button.click();
    return window.testWallets[0].calls.includes('personal_sign');
  });
  assert.equal(called, true, 'something was awaited between the click and the wallet');
  await page.getByText('A wallet of several owners may need all of them.').waitFor();
  await page.waitForTimeout(300);
  assert.deepEqual(seen, []);

  const posted = page.waitForRequest(`${service}/v1/session`);
  await page.evaluate(() => window.release());
  const { message, scheme } = (await posted).postDataJSON();
  assert.equal(scheme, 'eip191');
  assert.equal(message.split('\n')[1], account.address, 'by EIP-55, though the wallet shares lower case');
  assert.ok(message.includes(`\nNonce: ${nonce}\n`), message);
  await title(page, 'You are signed in').waitFor();
  await open(page, 'season-1', HELLO);
  await previewOf(page, 'season-1', 'hello.txt').waitFor();
});

test('an expired challenge is replaced before anything is signed', async (t) => {
  let challenge;
  const page = await visit(t, { wallets: [{ account: stranger }], before: (page) => { challenge = page.waitForResponse((response) => response.url().includes('/v1/challenge')); } });
  const { nonce } = await (await challenge).json();
  await walletButton(page, 'Test Wallet').click();
  await signInButton(page).waitFor();
  const renewed = page.waitForResponse((response) => response.url().includes('/v1/challenge'));
  const called = await signInButton(page).evaluate((button) => {
    const now = Date.now;
    Date.now = () => now() + 3_600_000; // as after an hour's sleep
    button.click();
    return window.testWallets[0].calls.includes('personal_sign');
  });
  assert.equal(called, false, 'an expired message was to be signed');
  await renewed;
  const posted = page.waitForRequest(`${service}/v1/session`);
  await signInButton(page).click();
  assert.equal((await posted).postDataJSON().message.includes(nonce), false);
  await title(page, 'You are signed in').waitFor();
});

test('a second wallet is added to the session, and what either holds opens', async (t) => {
  const page = await visit(t, { wallets: [{ name: 'First', account: stranger }, { name: 'Second', account }] });
  const first = await signIn(page, 'First');
  await gate(page, 'season-1').getByText('Closed to you').waitFor();
  await page.getByRole('button', { name: 'Add another wallet' }).click();
  await title(page, 'Add another wallet').waitFor();
  const second = await signIn(page, 'Second');
  assert.deepEqual(second.wallets.map(({ address }) => address), [account.address, stranger.address]);
  const listed = await page.getByRole('list', { name: 'Signed in' }).getByRole('listitem').allInnerTexts();
  assert.deepEqual(listed, ['0xf39F…2266 in Second', '0x7099…79C8 in First']);
  await gate(page, 'season-1').getByText('Open to you').waitFor();
  await open(page, 'season-1', HELLO);
  await previewOf(page, 'season-1', 'hello.txt').waitFor();
  assert.equal((await access(first.token)).status, 401, 'the token of one wallet was replaced');
});

test('a second account of the same wallet is added', async (t) => {
  const page = await visit(t, { wallets: [{ account: stranger }] });
  await signIn(page, 'Test Wallet');
  await page.getByRole('button', { name: 'Add another wallet' }).click();
  await walletButton(page, 'Test Wallet').click();
  await page.locator('#portal').getByText('is signed in already').waitFor();
  await page.evaluate((address) => {
    window.testWallets[0].accounts = [address];
    window.testWallets[0].emit('accountsChanged', [address]);
  }, account.address);
  await signIn(page, 'Test Wallet');
  assert.equal(await page.getByRole('list', { name: 'Signed in' }).getByRole('listitem').count(), 2);
  await page.getByRole('button', { name: 'Add another wallet' }).click();
  await page.getByRole('button', { name: 'Back' }).click();
  await title(page, 'You are signed in').waitFor();
});

test('a wallet without personal_sign signs typed data', async (t) => {
  const page = await visit(t, { wallets: [{ account: stranger, refuses: ['personal_sign'] }] });
  const { sent } = await signIn(page, 'Test Wallet');
  assert.equal(sent.scheme, 'eip712');
  const asked = () => page.evaluate(() => window.testWallets[0].calls.filter((method) => method.includes('ign')));
  assert.deepEqual(await asked(), ['personal_sign', 'eth_signTypedData_v4']);

  await page.getByRole('button', { name: 'Sign out', exact: true }).click();
  await walletButton(page, 'Test Wallet').click();
  await signInButton(page).waitFor();
  const again = await signInButton(page).evaluate((button) => {
    button.click();
    return window.testWallets[0].calls.at(-1);
  });
  assert.equal(again, 'eth_signTypedData_v4', 'known by now, so the click itself asks for it');
  await title(page, 'You are signed in').waitFor();
});

test('an injected wallet is offered where none announces itself', async (t) => {
  const injected = await visit(t, { wallets: [{ announce: false, legacy: true }] });
  await signIn(injected, 'Browser wallet');

  const announced = await visit(t, { wallets: [{ name: 'One' }, { announce: false, legacy: true }] });
  await walletButton(announced, 'One').waitFor();
  await announced.waitForTimeout(600); // longer than the page waits for late wallets
  assert.equal(await walletButton(announced, 'Browser wallet').count(), 0);
});

test('a declined signature is said calmly, and can be given after all', async (t) => {
  const page = await visit(t, { wallets: [{ decline: 1 }] });
  await walletButton(page, 'Test Wallet').click();
  await signInButton(page).click();
  await page.getByText('You declined in your wallet. Nothing was signed.').first().waitFor();
  await signInButton(page).click();
  await title(page, 'You are signed in').waitFor();
});

test('a wallet on another network is offered the switch', async (t) => {
  const page = await visit(t, { wallets: [{ chainId: '0x1' }] });
  await walletButton(page, 'Test Wallet').click();
  await page.getByText('Your wallet is on Ethereum; these gates read the local chain.').waitFor();
  await page.getByRole('button', { name: 'Switch to the local chain' }).click();
  await page.getByText('Your wallet is on Ethereum').waitFor({ state: 'detached' });
  await signInButton(page).click();
  await title(page, 'You are signed in').waitFor();
});

test('a wallet that changes its account is signed out', async (t) => {
  const page = await visit(t, { wallets: [{}], refusals: [401] });
  const { token } = await signIn(page, 'Test Wallet');
  const revoked = page.waitForResponse((response) => response.request().method() === 'DELETE');
  await page.evaluate(() => window.testWallets[0].emit('accountsChanged', ['0x70997970C51812dc3A010C7d01b50e0d17dc79C8']));
  await page.getByText('Your wallet changed its account.').first().waitFor();
  assert.equal((await revoked).status(), 204);
  assert.equal((await access(token)).status, 401);
});

/** What a session opens that has been ended, as soon as every instance knows: what one has in memory it believes for a second. */
async function statusOfEnded(token) {
  await new Promise((resolve) => { setTimeout(resolve, 1_100); });
  return (await access(token)).status;
}

test('signing out revokes the session, which was never stored', async (t) => {
  const page = await visit(t);
  const { token } = await signIn(page, 'Owner');
  const stored = await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]);
  assert.deepEqual(stored, [0, 0, '']);
  assert.deepEqual(await page.context().cookies(), []);
  assert.equal((await access(token)).status, 200);

  await page.getByRole('button', { name: 'Sign out', exact: true }).click();
  await page.locator('#portal').getByText('Signed out.').waitFor();
  assert.equal(await statusOfEnded(token), 401);
});

test('signing out everywhere ends the sessions of other browsers', async (t) => {
  const here = await visit(t);
  const elsewhere = await visit(t, { refusals: [401] });
  await signIn(here, 'Stranger');
  const { token } = await signIn(elsewhere, 'Stranger');
  await here.getByRole('button', { name: 'Sign out everywhere' }).click();
  await here.locator('#portal').getByText('Signed out everywhere.').waitFor();
  assert.equal(await statusOfEnded(token), 401);
  await open(elsewhere, 'season-1', HELLO);
  await elsewhere.locator('#portal').getByText('Your session has ended. Sign in again to go on.').waitFor();
});

test('a session in use is renewed before it ends', async (t) => {
  const page = await visit(t, { before: shortSessions(4000) });
  const { token } = await signIn(page, 'Owner');
  const renewed = page.waitForResponse(`${service}/v1/session/renew`);
  await page.keyboard.press('Shift');
  const answer = await (await renewed).json();
  assert.notEqual(answer.token, token);
  await page.waitForTimeout(4000);
  const asked = page.waitForRequest(`${service}/v1/access`);
  await open(page, 'season-1', HELLO);
  assert.equal(await (await asked).headerValue('authorization'), `Bearer ${answer.token}`);
  await previewOf(page, 'season-1', 'hello.txt').waitFor();
});

test('a session that nobody uses is not renewed', async (t) => {
  const page = await visit(t, { before: shortSessions(3000) });
  await signIn(page, 'Stranger');
  const seen = requests(page);
  await page.locator('#portal').getByText('Your session has ended. Sign in again to go on.').waitFor();
  assert.equal(seen.includes('POST /v1/session/renew'), false);
});

test('an ended session asks to sign in again, and goes on', async (t) => {
  const page = await visit(t, { refusals: [401] });
  const { token } = await signIn(page, 'Owner');
  const ended = await fetch(`${service}/v1/session`, { method: 'DELETE', headers: { authorization: `Bearer ${token}` } });
  assert.equal(ended.status, 204);
  await open(page, 'season-1', HELLO);
  await page.locator('#portal').getByText('Your session has ended. Sign in again to go on.').waitFor();
  await signInButton(page).click();
  await title(page, 'You are signed in').waitFor();
  await open(page, 'season-1', HELLO);
  await previewOf(page, 'season-1', 'hello.txt').waitFor();
});

for (const status of [429, 503]) {
  test(`a ${status} is explained, and tried again after Retry-After`, async (t) => {
    const page = await visit(t, { refusals: [status] });
    await signIn(page, 'Owner');
    let refused = false;
    await page.route(`${service}/v1/access`, (route) => {
      if (refused) return route.continue();
      refused = true;
      return route.fulfill({ status, headers: { 'content-type': 'application/problem+json', 'retry-after': '3' }, body: JSON.stringify({ type: '/problems/x', title: 'x', status, code: 'x' }) });
    });
    await open(page, 'season-1', HELLO);
    const retry = gate(page, 'season-1').getByRole('button', { name: 'Try again' });
    await retry.waitFor();
    assert.equal(await retry.isDisabled(), true, 'too early');
    await retry.click(); // waits until it is enabled
    await previewOf(page, 'season-1', 'hello.txt').waitFor();
  });
}

test('a sign-in that came too soon says why, and is tried again by the person alone', async (t) => {
  let tries = 0;
  const page = await visit(t, {
    refusals: [429],
    before: (page) => page.route(`${service}/v1/session`, (route) => {
      if ((tries += 1) > 1) return route.continue();
      return route.fulfill({ status: 429, headers: { 'content-type': 'application/problem+json', 'retry-after': '3' }, body: JSON.stringify({ status: 429, code: 'too-many-requests', detail: 'Too often; ask again in 3 seconds.' }) });
    }),
  });
  await walletButton(page, 'Stranger').click();
  await signInButton(page).click();
  await page.locator('#portal').getByText('Too often; ask again in 3 seconds.').waitFor();
  const retry = page.locator('#portal').getByRole('button', { name: 'Try again' });
  assert.equal(await retry.isDisabled(), true, 'too early');
  await page.waitForTimeout(3500);
  assert.equal(tries, 1);
  await retry.click();
  await title(page, 'You are signed in').waitFor();
});

test('without any wallet the page says so', async (t) => {
  const page = await visit(t, { before: (page) => page.route(`${service}/config.json`, (route) => route.fulfill({ json: { demo_rpc_url: '' } })) });
  await page.getByText('No wallet was found in this browser.').waitFor();
  await page.getByRole('button', { name: 'Look again' }).waitFor();
});

test('what a wallet says of itself is text, and nothing is fetched for it', async (t) => {
  const name = '<img src=x onerror="window.broken = true">';
  const page = await visit(t, { wallets: [{ name: `${name}\u202e`, icon: 'https://wallet.invalid/icon.svg' }] });
  await walletButton(page, name).waitFor();
  assert.equal((await walletButton(page, name).innerText()).includes('\u202e'), false, 'it would turn what follows around');
  assert.equal(await page.locator('#portal img').count(), 0);
  assert.equal(await page.evaluate(() => window.broken), undefined);
});

test('no wallet takes the place of one that announced itself before', async (t) => {
  const page = await visit(t, { wallets: [{ name: 'First', uuid: 'same' }, { name: 'Second', uuid: 'same' }] });
  await walletButton(page, 'First').waitFor();
  assert.equal(await walletButton(page, 'Second').count(), 0);
});

test('the keyboard alone signs in and opens a file', async (t) => {
  const page = await visit(t);
  await walletButton(page, 'Owner').waitFor();
  const tabTo = async (locator) => {
    await locator.waitFor();
    for (let presses = 0; presses < 40; presses += 1) {
      if (await locator.evaluate((element) => element === document.activeElement)) return;
      await page.keyboard.press('Tab');
    }
    assert.fail(`Tab never reached ${locator}`);
  };
  await tabTo(walletButton(page, 'Owner'));
  await page.keyboard.press('Enter');
  await tabTo(signInButton(page));
  await page.keyboard.press('Enter');
  await title(page, 'You are signed in').waitFor();
  await tabTo(gate(page, 'season-1').getByLabel('File', { exact: true }));
  await page.keyboard.press('Enter');
  await previewOf(page, 'season-1', 'hello.txt').waitFor();
});

test('the page is framed by nobody and runs only its own scripts', async () => {
  const reply = await fetch(`${service}/`);
  const policy = reply.headers.get('content-security-policy');
  for (const directive of ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"]) {
    assert.ok(policy?.split(/;\s*/).includes(directive), `${directive} is not in ${policy}`);
  }
});

test('the development chain allows the page to use it', async () => {
  const reply = await fetch(chain, { method: 'POST', headers: { 'content-type': 'application/json', origin: service }, body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'eth_chainId' }) });
  assert.equal(reply.headers.get('access-control-allow-origin'), '*');
  assert.equal((await reply.json()).result, '0x7a69');
});

function access(token) {
  return fetch(`${service}/v1/access`, { method: 'POST', headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' }, body: JSON.stringify({ resource: HELLO }) });
}
