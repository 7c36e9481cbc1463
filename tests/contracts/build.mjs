// Writes what is committed in compiled form: the service's signature validator and reader, the contracts of this folder, and
// Multicall3 as viem compiles it for its own deployless calls. With --check it writes nothing and fails if a file
// differs from what its source compiles to.
// Needs the packages of ../package.json (scripts/setup --test). Run: node tests/contracts/build.mjs [--check]
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { readFile, writeFile } from 'node:fs/promises'
import solc from 'solc'
import { multicall3Bytecode } from '../node_modules/viem/_esm/constants/contracts.js'

const check = process.argv.includes('--check')
const modules = new URL('../node_modules/', import.meta.url)
const validator = new URL('../../crates/core/contracts/', import.meta.url)
const here = new URL('./', import.meta.url)

/** The contracts of `files` in `folder`, by file and name. */
async function compile(folder, files, language = 'Solidity') {
  const sources = {}
  for (const file of files) sources[file] = { content: await readFile(new URL(file, folder), 'utf8') }
  const settings = {
    // Understood by chains that do not have PUSH0 yet.
    evmVersion: 'paris',
    optimizer: { enabled: true },
    // Nothing but the code, so that the same source gives the same bytes.
    metadata: { bytecodeHash: 'none', appendCBOR: false },
    outputSelection: { '*': { '*': ['evm.bytecode.object', 'evm.deployedBytecode.object'] } },
  }
  const output = JSON.parse(solc.compile(JSON.stringify({ language, sources, settings })))
  // Of Yul the compiler says each time that it is experimental.
  const errors = (output.errors ?? []).filter((error) => language !== 'Yul' || error.severity !== 'warning')
  if (errors.length) throw new Error(errors.map((error) => error.formattedMessage).join('\n'))
  return output.contracts
}

/** What the creation code in `data` would leave on chain, which is what a call without a destination answers. */
async function runtimeCode(data) {
  const binary = new URL('@foundry-rs/anvil-linux-amd64/bin/anvil', modules).pathname
  const anvil = spawn(binary, ['--port', '0'], { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    const url = await new Promise((found, lost) => {
      createInterface(anvil.stdout).on('line', (line) => {
        const listening = /^Listening on (.*)$/.exec(line)
        if (listening) found(`http://${listening[1]}`)
      })
      anvil.on('exit', (code) => lost(new Error(`anvil ended with ${code} before it listened`)))
    })
    const reply = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'eth_call', params: [{ data }] }),
    })
    const { result, error } = await reply.json()
    if (!result) throw new Error(`eth_call: ${JSON.stringify(error)}`)
    return result
  } finally {
    anvil.kill('SIGKILL')
  }
}

async function put(url, text) {
  if (!check) return writeFile(url, text)
  if ((await readFile(url, 'utf8').catch(() => '')) === text) return
  console.error(`${url.pathname} is not what its source compiles to: run node tests/contracts/build.mjs`)
  process.exitCode = 1
}

const putJson = (artefact) => put(new URL(`${artefact.contract}.json`, here), `${JSON.stringify(artefact, null, 2)}\n`)

const production = await compile(validator, ['SignatureValidator.sol'])
const { evm } = production['SignatureValidator.sol'].SignatureValidator
await put(new URL('SignatureValidator.hex', validator), `${evm.bytecode.object}\n`)

const yul = await compile(validator, ['Reader.yul'], 'Yul')
const reader = yul['Reader.yul'].Reader.evm
await put(new URL('Reader.hex', validator), `${reader.deployedBytecode.object}\n`)
// What a transaction without a destination deploys the reader with.
await put(new URL('ReaderDeployment.hex', validator), `${reader.bytecode.object}\n`)

const files = [
  'DelegateRegistry.sol', 'DelegatedAccount.sol', 'Delegates.sol', 'Ecdsa.sol', 'ForSale.sol', 'Hostile.sol', 'Mutating.sol',
  'MuteDelegate.sol', 'RentableToken.sol', 'SmartAccount.sol', 'Staking.sol', 'TokenBoundAccount.sol',
]
const compiled = await compile(here, files)
for (const [file, contract, code] of [
  ['SmartAccount.sol', 'SmartAccountFactory', 'creation'],
  ['DelegatedAccount.sol', 'DelegatedAccount', 'creation'],
  ['MuteDelegate.sol', 'MuteDelegate', 'creation'],
  ['Delegates.sol', 'RefusingDelegate', 'creation'],
  ['Delegates.sol', 'RevertingDelegate', 'creation'],
  ['Delegates.sol', 'OpenDelegate', 'creation'],
  ['ForSale.sol', 'ForSale', 'creation'],
  ['ForSale.sol', 'Buyer', 'creation'],
  ['DelegateRegistry.sol', 'DelegateRegistry', 'runtime'],
  ['RentableToken.sol', 'RentableToken', 'runtime'],
  ['TokenBoundAccount.sol', 'TokenBoundAccount', 'runtime'],
  ['Staking.sol', 'Staking', 'runtime'],
  ['Mutating.sol', 'Mutating', 'runtime'],
  ['Mutating.sol', 'Buyable', 'runtime'],
  ['Hostile.sol', 'ReturndataBomb', 'runtime'],
  ['Hostile.sol', 'GasBurner', 'runtime'],
  ['Hostile.sol', 'HeavyToken', 'runtime'],
  ['Hostile.sol', 'OrbitSys', 'runtime'],
]) {
  const { bytecode, deployedBytecode } = compiled[file][contract].evm
  const object = code === 'creation' ? bytecode.object : deployedBytecode.object
  const source = `${file}, solc ${solc.semver()}`
  await putJson({ contract, source, license: 'Apache-2.0', [code]: `0x${object}` })
}

const { version, license } = JSON.parse(await readFile(new URL('viem/package.json', modules)))
const source = `viem ${version}, multicall3Bytecode`
await putJson({ contract: 'Multicall3', source, license, runtime: await runtimeCode(multicall3Bytecode) })
