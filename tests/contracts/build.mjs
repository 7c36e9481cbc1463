// Writes Multicall3.json, the runtime code of the Multicall3 contract as viem compiles it for its own deployless calls.
// Needs the packages of ../package.json (scripts/setup --test). Run: node tests/contracts/build.mjs
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { readFile, writeFile } from 'node:fs/promises'
import { multicall3Bytecode } from '../node_modules/viem/_esm/constants/contracts.js'

const modules = new URL('../node_modules/', import.meta.url)
const anvil = spawn(new URL('@foundry-rs/anvil-linux-amd64/bin/anvil', modules).pathname, ['--port', '0'], {
  stdio: ['ignore', 'pipe', 'inherit'],
})
try {
  const url = await new Promise((found, lost) => {
    createInterface(anvil.stdout).on('line', (line) => {
      const listening = /^Listening on (.*)$/.exec(line)
      if (listening) found(`http://${listening[1]}`)
    })
    anvil.on('exit', (code) => lost(new Error(`anvil ended with ${code} before it listened`)))
  })
  // A call without a destination runs the creation code and answers what it would leave on chain.
  const reply = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'eth_call', params: [{ data: multicall3Bytecode }] }),
  })
  const { result, error } = await reply.json()
  if (!result) throw new Error(`eth_call: ${JSON.stringify(error)}`)
  const { version, license } = JSON.parse(await readFile(new URL('viem/package.json', modules)))
  const artefact = { contract: 'Multicall3', source: `viem ${version}, multicall3Bytecode`, license, runtime: result }
  await writeFile(new URL('Multicall3.json', import.meta.url), `${JSON.stringify(artefact, null, 2)}\n`)
} finally {
  anvil.kill('SIGKILL')
}
