// Writes wrap.json: signatures of sign-in messages for accounts that are not deployed, made by the first well-known
// development key, and the ERC-6492 wrappers around them.
// Needs the packages of ../../package.json (scripts/setup --test). Run: node tests/vectors/erc6492/make.mjs
import { writeFile } from 'node:fs/promises'
import { Address, ContractAddress, Hex, PersonalMessage, Secp256k1, Signature } from 'ox'
import { SignatureErc6492 } from 'ox/erc6492'

const privateKey = '0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80'
const owner = '0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266'
const factory = '0x5FbDB2315678afecb367f032d93F642f64180aa3'

// Of the empty call, of one within a word, of one of whole words, and of one that fills no word.
const calls = ['0x', '0xdeadbeef', `0x${'ab'.repeat(64)}`, `0x5fbfb9cf${'00'.repeat(12)}${owner.slice(2).toLowerCase()}${'07'.repeat(32)}`]

const vectors = calls.map((data, index) => {
  const address = Address.checksum(ContractAddress.fromCreate2({ from: factory, salt: Hex.fromNumber(index, { size: 32 }), bytecode: '0x00' }))
  const message = `gate.example.com wants you to sign in with your Ethereum account:
${address}

Unlock the download.

URI: https://gate.example.com/login
Version: 1
Chain ID: 31337
Nonce: a1b2c3d4e5f60718
Issued At: 2026-01-02T03:04:05.000Z`
  const payload = PersonalMessage.getSignPayload(Hex.fromString(message))
  const signature = Signature.toHex(Secp256k1.sign({ payload, privateKey }))
  return { owner, address, message, factory, data, signature, wrapped: SignatureErc6492.wrap({ to: factory, data, signature }) }
})
await writeFile(new URL('wrap.json', import.meta.url), `${JSON.stringify(vectors, null, 2)}\n`)
