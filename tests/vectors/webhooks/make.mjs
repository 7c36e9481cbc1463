// Writes deliveries.json: signed deliveries in the shapes that the sources document, with what is to be read of them.
// Needs the packages of ../../package.json (scripts/setup --test). Run: node tests/vectors/webhooks/make.mjs
import { createHmac } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { encodeAbiParameters, encodeEventTopics, keccak256, pad, parseAbi, toBytes, toHex } from 'viem'

const now = 1_800_000_000
const from = '0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266'
const to = '0x70997970c51812dc3a010c7d01b50e0d17dc79c8'
const token = '0x5fbdb2315678afecb367f032d93f642f64180aa3'
const passes = '0xe7f1725e7734ce288f8367e1bb143e90bb3f0512'
const coins = '0x9fe46736679d2d9a65f0992f2272de9f3c7fa6e0'
const text = 'a-signing-key-of-the-tests'
const bytes = Buffer.alloc(24, 7)

const topics = (signature, args) => encodeEventTopics({ abi: parseAbi([`event ${signature}`]), args })
const nft = {
  address: token,
  topics: topics('Transfer(address indexed from, address indexed to, uint256 indexed id)', { from, to, id: 7n }),
  data: '0x',
}
const coin = {
  address: coins,
  topics: topics('Transfer(address indexed from, address indexed to, uint256 value)', { from, to }),
  data: encodeAbiParameters([{ type: 'uint256' }], [5n]),
}
const pass = {
  address: passes,
  topics: topics('TransferSingle(address indexed operator, address indexed from, address indexed to, uint256 id, uint256 value)', { operator: from, from, to }),
  data: encodeAbiParameters([{ type: 'uint256' }, { type: 'uint256' }], [7n, 1n]),
}
const approval = {
  address: token,
  topics: topics('ApprovalForAll(address indexed owner, address indexed operator, bool approved)', { owner: from, operator: to }),
  data: pad('0x01'),
}

// As a node returns a log.
const mined = (log, block, more = {}) => ({
  ...log,
  blockNumber: toHex(block),
  transactionHash: pad('0xaa'),
  transactionIndex: '0x0',
  blockHash: pad('0xbb'),
  logIndex: '0x0',
  removed: false,
  ...more,
})
// What is to be read of it.
const read = (log, block, removed = false) => ({ ...log, block, removed })

const hmac = (key, data) => createHmac('sha256', key).update(data)
const alchemy = (body) => ({ 'x-alchemy-signature': hmac(text, body).digest('hex') })
const quicknode = (body) => {
  const [nonce, time] = ['5e8a1d57-2f0a-4b7e-9c7e-1f1f6f4b9c11', String(now - 2)]
  return { 'x-qn-nonce': nonce, 'x-qn-timestamp': time, 'x-qn-signature': hmac(text, nonce + time + body).digest('hex') }
}
const moralis = (body) => ({ 'x-signature': keccak256(toBytes(body + text)) })
const standard = (body) => {
  const [id, time] = ['msg_2KWPBgLlAfxdpx2AI54pPJ85f4W', String(now + 3)]
  const mine = `v1,${hmac(bytes, `${id}.${time}.${body}`).digest('base64')}`
  const theirs = `v1,${hmac('another key', `${id}.${time}.${body}`).digest('base64')}`
  return { 'webhook-id': id, 'webhook-timestamp': time, 'webhook-signature': `v1a,${bytes.toString('base64')} ${theirs} ${mine}` }
}

const activity = (network, type, entries) => ({ webhookId: 'wh_k63lg72rxda78gce', id: 'whevt_vq499kv7elmlbp2v', createdAt: '2027-01-15T08:00:00.000Z', type, event: { network, activity: entries } })
const entry = (log) => ({ fromAddress: from, toAddress: to, blockNum: log?.blockNumber ?? '0x7', hash: pad('0xaa'), value: 293.092129, category: log ? 'token' : 'external', ...(log ? { log } : {}) })
const queried = ({ address, topics: words, data }) => ({ data, topics: words, index: 3, account: { address }, transaction: { hash: pad('0xaa'), status: 1 } })
const named = ({ address, topics: [topic0, topic1 = null, topic2 = null, topic3 = null], data }) => ({ logIndex: '3', transactionHash: pad('0xaa'), address, data, topic0, topic1, topic2, topic3, triggered_by: [from] })
const stream = (more) => ({ abi: [], block: { hash: pad('0xbb'), number: '7', timestamp: '1799999999' }, txs: [], txsInternal: [], logs: [], chainId: '0x1', tag: '', streamId: 'c28d9e2e-ae9d-4fe6-9fc0-5fcde2dcdd17', confirmed: false, retries: 0, erc20Approvals: [], erc20Transfers: [], nftApprovals: { ERC721: [], ERC1155: [] }, nftTransfers: [], ...more })

const receipt = (logs) => ({ transactionHash: pad('0xaa'), status: '0x1', logs })
const cases = [
  ['alchemy', 'NFT activity', activity('ETH_MAINNET', 'NFT_ACTIVITY', [entry(mined(nft, 7)), entry(mined(pass, 7))]), 'eip155:1', [read(nft, 7), read(pass, 7)], 0],
  ['alchemy', 'address activity with ether among it, and with a log that is no longer there', activity('MATIC_MAINNET', 'ADDRESS_ACTIVITY', [entry(), entry(mined(coin, 7, { removed: true }))]), 'eip155:137', [read(coin, 7, true)], 1],
  ['alchemy', 'activity on a network of a name that nobody knows', activity('VENUS_MAINNET', 'NFT_ACTIVITY', [entry(mined(nft, 7))]), null, [read(nft, 7)], 0],
  ['alchemy', 'a custom query', { webhookId: 'wh_a55wfsvq5h8n8u3z', id: 'whevt_rsdblc6zxi8a6ntl', createdAt: '2027-01-15T08:00:00.000Z', type: 'GRAPHQL', event: { data: { block: { hash: pad('0xbb'), number: 7, timestamp: 1_799_999_999, logs: [nft, approval].map(queried) } }, sequenceNumber: '10000000000578619000', network: 'BASE_MAINNET' } }, 'eip155:8453', [read(nft, 7), read(approval, 7)], 0],
  ['alchemy', 'a custom query that does not ask for the number of the block', { id: 'whevt_1', type: 'GRAPHQL', event: { data: { block: { logs: [queried(nft)] } }, network: 'ETH_SEPOLIA' } }, 'eip155:11155111', [], 1],
  ['quicknode', 'logs by block, with metadata', { data: [[mined(nft, 7), mined(coin, 7)], [], [mined(pass, 8)]], metadata: { batch_start_range: 7, batch_end_range: 9, blocks_reorged: null, dataset: 'logs', network: 'ethereum-mainnet', stream_id: 'f6ad6459-b5ad-4183-b370-1c1388e47e83' } }, null, [read(nft, 7), read(coin, 7), read(pass, 8)], 0],
  ['quicknode', 'receipts without metadata', [[receipt([mined(nft, 7)]), receipt([])]], null, [read(nft, 7)], 0],
  ['quicknode', 'blocks with receipts, of which one took the place of another', { data: [{ block: { number: '0x7' }, receipts: [receipt([mined(nft, 7)])] }, { block: { number: '0x8' }, receipts: [receipt([mined(coin, 8)])] }], metadata: { blocks_reorged: [8] } }, null, [read(nft, 7), read(coin, 8, true)], 0],
  ['quicknode', 'receipts that a template picked, and an entry of another kind', { matchingReceipts: [receipt([mined(coin, 7), { traces: [] }])] }, null, [read(coin, 7)], 1],
  ['moralis', 'logs that are not confirmed yet', stream({ logs: [nft, coin, approval].map(named) }), 'eip155:1', [read(nft, 7), read(coin, 7), read(approval, 7)], 0],
  ['moralis', 'the delivery that tries a new stream', stream({ abi: {}, block: { hash: '', number: '', timestamp: '' }, chainId: '', streamId: '', confirmed: true, nftApprovals: [] }), null, [], 0],
  ['standard', 'logs as a node returns them', { chain: 'eip155:31337', logs: [mined(nft, 7), mined(coin, 7, { removed: true }), mined(pass, 7, { topics: [...pass.topics, pad('0x01')] })] }, 'eip155:31337', [read(nft, 7), read(coin, 7, true)], 1],
  ['standard', 'logs of a chain that the configuration names', { logs: [mined(coin, 7)] }, null, [read(coin, 7)], 0],
]

const sign = { alchemy, quicknode, moralis, standard }
const deliveries = cases.map(([kind, what, content, chain, logs, skipped]) => {
  const body = JSON.stringify(content)
  return { kind, what, secret: kind === 'standard' ? `whsec_${bytes.toString('base64')}` : text, now, headers: sign[kind](body), body, chain, logs, skipped }
})
await writeFile(new URL('deliveries.json', import.meta.url), `${JSON.stringify(deliveries, null, 1)}\n`)
