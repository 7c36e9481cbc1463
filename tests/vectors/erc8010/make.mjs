// Writes wrap.json: EIP-7702 authorizations by the first well-known development key, and the ERC-8010 wrappers with
// them around a signature of that key. `null` stands where a wrapper has no call that initialises, or no target for it.
// Needs the packages of ../../package.json (scripts/setup --test). Run: node tests/vectors/erc8010/make.mjs
import { writeFile } from 'node:fs/promises'
import { Address, Authorization, Hex, Secp256k1, Signature } from 'ox'
import { SignatureErc8010 } from 'ox/erc8010'

const privateKey = '0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80'
const delegation = '0x5FbDB2315678afecb367f032d93F642f64180aa3'
const initialiser = '0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512'

const address = Address.fromPublicKey(Secp256k1.getPublicKey({ privateKey }))
// What is signed is no matter to the wrapper: this stands for the hash of a message.
const hash = '0x1181986615fa54ac1194d0431e3efcb29608a48c650194f8e010993723f52055'
const signature = Signature.toHex(Secp256k1.sign({ payload: hash, privateKey }))
const word = (value) => Hex.fromNumber(value, { size: 32 })

// Of a chain, of every chain and of large numbers; nonces at the edges of RLP's forms; calls within a word and beyond it.
const cases = [
  { chainId: 31337, nonce: 0n },
  { chainId: 0, nonce: 127n, data: '0xdeadbeef' },
  { chainId: 1, nonce: 128n, to: initialiser, data: `0x${'ab'.repeat(33)}` },
  { chainId: 11155111, nonce: 65536n },
]

const vectors = cases.map(({ chainId, nonce, to, data }) => {
  const unsigned = Authorization.from({ address: delegation, chainId, nonce })
  const signed = Secp256k1.sign({ payload: Authorization.getSignPayload(unsigned), privateKey })
  const authorization = Authorization.from(unsigned, { signature: signed })
  return {
    private_key: privateKey,
    address,
    hash,
    signature,
    chain_id: chainId,
    delegation,
    nonce: Number(nonce),
    to: to ?? null,
    data: data ?? null,
    authorization: { y_parity: signed.yParity, r: word(signed.r), s: word(signed.s) },
    wrapped: SignatureErc8010.wrap({ authorization, data, signature, to }),
  }
})
await writeFile(new URL('wrap.json', import.meta.url), `${JSON.stringify(vectors, null, 2)}\n`)
