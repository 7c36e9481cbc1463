// Writes sign_in.json: sign-in messages, the typed data that stands for each, its hash and a signature by the first
// well-known development key. The typed data is made of the fields here, not read back from the text.
// Needs the packages of ../../package.json (scripts/setup --test). Run: node tests/vectors/eip712/make.mjs
import { writeFile } from 'node:fs/promises'
import { hashTypedData } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'

const account = privateKeyToAccount('0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80')

const minimal = {
  domain: 'gate.example.com',
  uri: 'https://gate.example.com/login',
  chainId: 1,
  nonce: 'a1b2c3d4e5f60718',
  issuedAt: '2026-01-02T03:04:05.000Z',
}
const cases = {
  minimal,
  // Times in forms that no parser would write again: what is signed is their text.
  'every optional field': {
    ...minimal,
    domain: 'https://user@gate.example.com:8443',
    statement: "Unlock the download: it's [yours] & nobody else's.",
    chainId: 31337,
    issuedAt: '2026-01-02T03:04:05Z',
    expirationTime: '2036-01-02T05:04:05.123456+02:00',
    notBefore: '2026-01-02T03:04:05.1-00:00',
    requestId: 'req-1%20:@',
  },
  resources: {
    ...minimal,
    statement: 'Unlock the download.',
    chainId: 11155111,
    resources: ['https://gate.example.com/files/1?a=b#c', 'ipfs://bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi/', 'urn:x:y'],
  },
}

function text({ domain, statement, uri, chainId, nonce, issuedAt, expirationTime, notBefore, requestId, resources }) {
  const lines = [`${domain} wants you to sign in with your Ethereum account:`, account.address, '']
  if (statement !== undefined) lines.push(statement)
  lines.push('', `URI: ${uri}`, 'Version: 1', `Chain ID: ${chainId}`, `Nonce: ${nonce}`, `Issued At: ${issuedAt}`)
  if (expirationTime !== undefined) lines.push(`Expiration Time: ${expirationTime}`)
  if (notBefore !== undefined) lines.push(`Not Before: ${notBefore}`)
  if (requestId !== undefined) lines.push(`Request ID: ${requestId}`)
  if (resources !== undefined) lines.push('Resources:', ...resources.map((resource) => `- ${resource}`))
  return lines.join('\n')
}

const fields = (types) => Object.entries(types).map(([name, type]) => ({ name, type }))

const typedData = (of) => ({
  types: {
    EIP712Domain: fields({ name: 'string', version: 'string', chainId: 'uint256' }),
    SignIn: fields({
      domain: 'string',
      account: 'address',
      statement: 'string',
      uri: 'string',
      version: 'string',
      chainId: 'uint256',
      nonce: 'string',
      issuedAt: 'string',
      expirationTime: 'string',
      notBefore: 'string',
      requestId: 'string',
      resources: 'string[]',
    }),
  },
  primaryType: 'SignIn',
  domain: { name: 'Sign-In with Ethereum', version: '1', chainId: of.chainId },
  message: {
    domain: of.domain,
    account: account.address,
    statement: of.statement ?? '',
    uri: of.uri,
    version: '1',
    chainId: of.chainId,
    nonce: of.nonce,
    issuedAt: of.issuedAt,
    expirationTime: of.expirationTime ?? '',
    notBefore: of.notBefore ?? '',
    requestId: of.requestId ?? '',
    resources: of.resources ?? [],
  },
})

const vectors = []
for (const [name, of] of Object.entries(cases)) {
  const data = typedData(of)
  vectors.push({
    name,
    address: account.address,
    message: text(of),
    typed_data: data,
    hash: hashTypedData(data),
    signature: await account.signTypedData(data),
  })
}
await writeFile(new URL('sign_in.json', import.meta.url), `${JSON.stringify(vectors, null, 2)}\n`)
