// The message to sign (EIP-4361), with its address by EIP-55.

/** The address by EIP-55, as EIP-4361 wants it in the message; wallets often share lower case. */
export function checksummed(address) {
  const digits = address.slice(2).toLowerCase();
  const hash = keccak256(digits);
  return `0x${[...digits].map((digit, i) => (hash[i >> 1] >> (i % 2 ? 0 : 4)) & 8 ? digit.toUpperCase() : digit).join('')}`;
}

/** The first 32 bytes of Keccak's sponge with the padding of Ethereum, over at most 135 ASCII characters. */
function keccak256(text) {
  const block = new DataView(new ArrayBuffer(200));
  [...text].forEach((character, i) => block.setUint8(i, character.charCodeAt(0)));
  block.setUint8(text.length, 1);
  block.setUint8(135, block.getUint8(135) | 0x80);
  const lanes = Array.from({ length: 25 }, (_, i) => block.getBigUint64(8 * i, true));
  const rotate = (lane, by) => BigInt.asUintN(64, lane << by) | (lane >> (64n - by));
  for (let round = 0, lfsr = 1; round < 24; round += 1) {
    const parity = [0, 1, 2, 3, 4].map((x) => lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20]);
    for (let i = 0; i < 25; i += 1) lanes[i] ^= parity[(i + 4) % 5] ^ rotate(parity[(i + 1) % 5], 1n);
    for (let t = 1, x = 1, y = 0, moved = lanes[1]; t <= 24; t += 1) {
      [x, y] = [y, (2 * x + 3 * y) % 5];
      [moved, lanes[x + 5 * y]] = [lanes[x + 5 * y], rotate(moved, BigInt((t * (t + 1) / 2) % 64))];
    }
    for (let y = 0; y < 25; y += 5) {
      const row = lanes.slice(y, y + 5);
      for (let x = 0; x < 5; x += 1) lanes[y + x] ^= BigInt.asUintN(64, ~row[(x + 1) % 5]) & row[(x + 2) % 5];
    }
    for (let j = 0; j < 7; j += 1) {
      lfsr = ((lfsr << 1) ^ ((lfsr >> 7) * 0x71)) % 256;
      if (lfsr & 2) lanes[0] ^= 1n << BigInt(2 ** j - 1);
    }
  }
  lanes.slice(0, 4).forEach((lane, i) => block.setBigUint64(8 * i, lane, true));
  return new Uint8Array(block.buffer, 0, 32);
}

/** The message by EIP-4361. The service wrote it itself where the challenge was made for one address. */
export function messageText({ message, domain, statement, uri, chain, nonce, issued_at, expires_at }, address) {
  return message ?? `${domain} wants you to sign in with your Ethereum account:
${address}

${statement}

URI: ${uri}
Version: 1
Chain ID: ${chain.split(':')[1]}
Nonce: ${nonce}
Issued At: ${issued_at}
Expiration Time: ${expires_at}`;
}
