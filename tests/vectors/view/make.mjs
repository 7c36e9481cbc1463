// Writes calls.json: calls of view functions by their human-readable signatures, and answers to them.
// Needs the packages of ../../package.json (scripts/setup --test). Run: node tests/vectors/view/make.mjs
import { writeFile } from 'node:fs/promises'
import { encodeFunctionData, encodeFunctionResult, parseAbi } from 'viem'

const account = '0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266'
const other = '0x70997970C51812dc3A010C7d01b50e0d17dc79C8'
const word = `0x${'ab'.repeat(32)}`

// What stands in the configuration, and what viem is given for it; what is returned, and what is read of it.
const calls = [
  ['function userOf(uint256 tokenId) view returns (address)', ['7'], [7n], account, '0', account],
  ['function owner() view returns (address)', [], [], account, '0', account],
  ['function stakeOf(address owner) view returns (uint256 amount, uint64 until)', ['$address'], [account], [100n, 1_800_000_000n], 'until', '1800000000'],
  ['function tierOf(address owner) view returns (int8)', ['$address'], [account], -3, '0', '-3'],
  ['function isMember(bytes32 group, address who) external view returns (bool)', [word, '$address'], [word, account], true, '0', 'true'],
  ['function nameOf(address who) view returns (uint256, string name)', ['$address'], [account], [1n, 'Zoë'], 'name', 'Zoë'],
  ['function roleOf(address who) view returns (bytes4)', ['$address'], [account], '0xdeadbeef', '0', '0xdeadbeef'],
  ['function notes(address[] who, string note) view returns (bytes)', [`[$address, ${other}]`, 'of $address'], [[account, other], 'of $address'], '0x0102', '0', '0x0102'],
  ['function weigh((address,uint256)[2] parts) pure returns ((uint128,uint128[2]) detail, uint256 sum)', [`[($address, 1), (${other}, 2)]`], [[[account, 1n], [other, 2n]]], [[1n, [2n, 3n]], 6n], 'sum', '6'],
  ['function held(address who) view returns (uint256[] ids, uint256 count)', ['$address'], [account], [[4n, 5n], 2n], '1', '2'],
]

const vectors = calls.map(([signature, args, values, result, returns, text]) => {
  const abi = parseAbi([signature])
  return {
    function: signature,
    args,
    account,
    calldata: encodeFunctionData({ abi, args: values }),
    returned: encodeFunctionResult({ abi, result }),
    returns,
    text,
  }
})
await writeFile(new URL('calls.json', import.meta.url), `${JSON.stringify(vectors, null, 2)}\n`)
