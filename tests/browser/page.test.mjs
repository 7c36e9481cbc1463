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

// The first well-known development key, which owns the demo's tokens.
const account = privateKeyToAccount('0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80');
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
async function visit(t, { refusals = [], wallet, before: prepare } = {}) {
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
  if (wallet) await inject(page, wallet);
  await prepare?.(page);
  await page.goto(`${service}/`);
  await page.locator('article.gate').first().waitFor();
  return page;
}

/**
 * A wallet over `account`. `announce`: by EIP-6963; `legacy`: as window.ethereum. `decline` is how many signatures its
 * owner refuses first; `chainId` is the network it is on.
 */
async function inject(page, { announce = true, legacy = false, name = 'Test Wallet', decline = 0, chainId = '0x7a69' } = {}) {
  await page.exposeFunction('signWithTestWallet', (hex, address) => {
    assert.equal(address.toLowerCase(), account.address.toLowerCase());
    return account.signMessage({ message: hexToString(hex) });
  });
  await page.addInitScript(({ announce, legacy, name, decline, chainId, address }) => {
    const listeners = {};
    const refuse = (code, message) => Promise.reject(Object.assign(new Error(message), { code }));
    const provider = {
      calls: [],
      emit: (event, value) => (listeners[event] ?? []).forEach((listener) => listener(value)),
      on: (event, listener) => (listeners[event] ??= []).push(listener),
      removeListener: (event, listener) => { listeners[event] = (listeners[event] ?? []).filter((known) => known !== listener); },
      request({ method, params }) {
        provider.calls.push(method);
        switch (method) {
          case 'eth_requestAccounts': return Promise.resolve([address.toLowerCase()]);
          case 'eth_chainId': return Promise.resolve(chainId);
          case 'wallet_switchEthereumChain':
            chainId = params[0].chainId;
            provider.emit('chainChanged', chainId);
            return Promise.resolve(null);
          case 'personal_sign':
            if (decline-- > 0) return refuse(4001, 'User rejected the request.');
            return window.signWithTestWallet(params[0], params[1]);
          default: return refuse(4200, `unsupported: ${method}`);
        }
      },
    };
    window.testWallet = provider;
    if (legacy) window.ethereum = provider;
    if (announce) {
      const info = Object.freeze({ uuid: '350670db-19fa-4704-a166-e52e178b59d2', name, rdns: 'example.gate.test', icon: 'data:image/svg+xml,%3Csvg xmlns="http://www.w3.org/2000/svg"/%3E' });
      const say = () => window.dispatchEvent(new CustomEvent('eip6963:announceProvider', { detail: Object.freeze({ info, provider }) }));
      window.addEventListener('eip6963:requestProvider', say);
      say();
    }
  }, { announce, legacy, name, decline, chainId, address: account.address });
}

const walletButton = (page, name) => page.getByRole('list', { name: 'Wallets' }).getByRole('button', { name });
const signInButton = (page) => page.getByRole('button', { name: 'Sign in', exact: true });
const title = (page, text) => page.getByRole('heading', { level: 1, name: text });
const gate = (page, id) => page.getByRole('article', { name: id, exact: true });

/** Signs in and answers the session that the service created. */
async function signIn(page, wallet) {
  await walletButton(page, wallet).click();
  const [reply] = await Promise.all([
    page.waitForResponse((response) => response.url() === `${service}/v1/session` && response.request().method() === 'POST'),
    signInButton(page).click(),
  ]);
  await title(page, 'You are signed in').waitFor();
  return reply.json();
}

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
  assert.match(unmet, /ERC-20 .*1,000\s×\s10¹⁸/);
  assert.equal(await season.getByRole('link').count(), 0);
  assert.match(await page.locator('#alerter').textContent(), /stays closed/, 'screen readers hear it too');
});

test('a file that no gate covers does not exist', async (t) => {
  const page = await visit(t, { refusals: [404] });
  await signIn(page, 'Owner');
  await open(page, 'season-1', 'media/elsewhere/hello.txt');
  await gate(page, 'season-1').getByText('No gate covers this file').waitFor();
});

test('an announced wallet signs in, called from the click itself', async (t) => {
  const page = await visit(t, { wallet: {} });
  await walletButton(page, 'Test Wallet').click();
  await signInButton(page).waitFor();
  const called = await signInButton(page).evaluate((button) => {
    button.click();
    return window.testWallet.calls.includes('personal_sign');
  });
  assert.equal(called, true, 'something was awaited between the click and the wallet');
  await title(page, 'You are signed in').waitFor();
  await open(page, 'season-1', HELLO);
  await previewOf(page, 'season-1', 'hello.txt').waitFor();
});

test('a wallet that only injects itself is offered, and one that also announces itself is offered once', async (t) => {
  const injected = await visit(t, { wallet: { announce: false, legacy: true } });
  await signIn(injected, 'Browser wallet');

  const both = await visit(t, { wallet: { announce: true, legacy: true } });
  await walletButton(both, 'Test Wallet').waitFor();
  await both.waitForTimeout(600); // longer than the page waits for late wallets
  assert.equal(await walletButton(both, 'Browser wallet').count(), 0);
});

test('a declined signature is said calmly, and can be given after all', async (t) => {
  const page = await visit(t, { wallet: { decline: 1 } });
  await walletButton(page, 'Test Wallet').click();
  await signInButton(page).click();
  await page.getByText('You declined in your wallet. Nothing was signed.').first().waitFor();
  await signInButton(page).click();
  await title(page, 'You are signed in').waitFor();
});

test('a wallet on another network is offered the switch', async (t) => {
  const page = await visit(t, { wallet: { chainId: '0x1' } });
  await walletButton(page, 'Test Wallet').click();
  await page.getByText('Your wallet is on Ethereum; these gates read the local chain.').waitFor();
  await page.getByRole('button', { name: 'Switch to the local chain' }).click();
  await page.getByText('Your wallet is on Ethereum').waitFor({ state: 'detached' });
  await signInButton(page).click();
  await title(page, 'You are signed in').waitFor();
});

test('a wallet that changes its account is signed out', async (t) => {
  const page = await visit(t, { wallet: {}, refusals: [401] });
  const { token } = await signIn(page, 'Test Wallet');
  const revoked = page.waitForResponse((response) => response.request().method() === 'DELETE');
  await page.evaluate(() => window.testWallet.emit('accountsChanged', ['0x70997970C51812dc3A010C7d01b50e0d17dc79C8']));
  await page.getByText('Your wallet changed its account.').first().waitFor();
  assert.equal((await revoked).status(), 204);
  assert.equal((await access(token)).status, 401);
});

test('signing out revokes the session, which was never stored', async (t) => {
  const page = await visit(t);
  const { token } = await signIn(page, 'Owner');
  const stored = await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]);
  assert.deepEqual(stored, [0, 0, '']);
  assert.deepEqual(await page.context().cookies(), []);
  assert.equal((await access(token)).status, 200);

  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.locator('#portal').getByText('Signed out.').waitFor();
  assert.equal((await access(token)).status, 401);
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
      return route.fulfill({ status, headers: { 'content-type': 'application/problem+json', 'retry-after': '2' }, body: JSON.stringify({ type: '/problems/x', title: 'x', status, code: 'x' }) });
    });
    await open(page, 'season-1', HELLO);
    const retry = gate(page, 'season-1').getByRole('button', { name: 'Try again' });
    await retry.waitFor();
    assert.equal(await retry.isDisabled(), true, 'too early');
    await retry.click(); // waits until it is enabled
    await previewOf(page, 'season-1', 'hello.txt').waitFor();
  });
}

test('without any wallet the page says so', async (t) => {
  const page = await visit(t, { before: (page) => page.route(`${service}/config.json`, (route) => route.fulfill({ json: { demo_rpc_url: '' } })) });
  await page.getByText('No wallet was found in this browser.').waitFor();
  await page.getByRole('button', { name: 'Look again' }).waitFor();
});

test('markup in a wallet’s name is text', async (t) => {
  const name = '<img src=x onerror="window.broken = true">';
  const page = await visit(t, { wallet: { name } });
  await walletButton(page, name).waitFor();
  assert.equal(await page.evaluate(() => window.broken), undefined);
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
