// SPDX-License-Identifier: Apache-2.0

/// Answers many reads of a chain's state at one block. No read can write, burn what the others need, or make an answer
/// long: each is one STATICCALL with a share of the gas, and of what it returns only the wanted bytes are copied.
///
/// The same code works in two ways. As the code of an account (deployed, or by a state override) it reads its request
/// from calldata. As creation code it reads the request behind itself and returns the answer where it would otherwise
/// leave code behind; that costs gas for each byte of the answer, which is reserved before the shares are given out.
///
/// Request, big endian: gas per byte of answer (2 bytes), the longest possible answer (4), number of a block whose hash is
/// known (8, zero if none), count of reads (2), then per read:
///   kind (1): 0x01 balance of the target, in place of a call
///             0x02 the wanted word is the offset of a `bytes` or `string`, which is wanted in its place
///             0x04 the target is that of the read before
///             0x08 the calldata is that of the call before
///             0x10 `skip` and `take` follow; otherwise the first word is wanted
///             0x20 what a revert says is wanted, up to 164 bytes
///   target (20), skip (2), take (2), length of the calldata (2), calldata: as far as the kind says so
///
/// Answer: chain id (32), block number (8), timestamp (8), hash of the block before (32), hash of the known block (32),
/// then per read: flags (1: 0x01 success, 0x02 used more than three quarters of its share of the gas, 0x04 the wanted
/// bytes are all there), size of what was returned (3, at most 0xffffff), length (2), and so many bytes.
object "Reader" {
  code {
    datacopy(0, dataoffset("Reader_deployed"), datasize("Reader_deployed"))
    return(0, datasize("Reader_deployed"))
  }
  object "Reader_deployed" {
    code {
      let inCode := iszero(calldatasize())

      function copy(fromCode, to, from, length) {
        switch fromCode
        case 0 { calldatacopy(to, from, length) }
        default { codecopy(to, add(datasize("Reader_deployed"), from), length) }
      }

      /// A number of `length` bytes of the request.
      function load(fromCode, from, length) -> value {
        copy(fromCode, 0, from, 32)
        value := shr(sub(256, shl(3, length)), mload(0))
      }

      /// One word from ArbSys, the precompiled contract by which Orbit chains tell their own numbers and hashes. Elsewhere
      /// nothing is there, or something that fails.
      function arbSys(selector, argument, size) -> success, word {
        mstore(0, shl(224, selector))
        mstore(4, argument)
        success := staticcall(50000, 0x64, 0, size, 0, 32)
        if iszero(eq(returndatasize(), 32)) { success := 0 }
        if success { word := mload(0) }
      }

      function hashOf(isOrbit, block_) -> hash {
        switch isOrbit
        case 0 { hash := blockhash(block_) }
        default {
          let success
          success, hash := arbSys(0x2b407a82, block_, 36) // arbBlockHash(uint256)
        }
      }

      // Memory: two words to work with, what the compiler needs, the answer, what a word written at its end may spill
      // over, calldata.
      let answer := memoryguard(64)
      let reserve := load(inCode, 2, 4)
      let calldata_ := add(answer, add(reserve, 32))

      let isOrbit, block_ := arbSys(0xa3b1b31d, 0, 4) // arbBlockNumber()
      if shr(64, block_) { isOrbit := 0 }
      if iszero(isOrbit) { block_ := number() }
      mstore(answer, chainid())
      mstore(add(answer, 32), or(shl(192, block_), shr(64, shl(192, timestamp()))))
      let hash := hashOf(isOrbit, sub(block_, 1))
      mstore(add(answer, 48), hash)
      hash := 0
      let known := load(inCode, 6, 8)
      if known { hash := hashOf(isOrbit, known) }
      mstore(add(answer, 80), hash)

      // Where the gas does not suffice for the longest answer, the answer may still be shorter.
      reserve := mul(load(inCode, 0, 2), reserve)
      {
        let bound := sub(gas(), shr(2, gas()))
        if gt(reserve, bound) { reserve := bound }
      }

      let out := add(answer, 112)
      let at := 16
      let target
      let length
      for { let left := load(inCode, 14, 2) } left { left := sub(left, 1) } {
        let kind := load(inCode, at, 1)
        at := add(at, 1)
        if iszero(and(kind, 0x04)) {
          target := load(inCode, at, 20)
          at := add(at, 20)
        }
        let skip := 0
        let take := 32
        if and(kind, 0x10) {
          skip := load(inCode, at, 2)
          take := load(inCode, add(at, 2), 2)
          at := add(at, 4)
        }
        if and(kind, 0x01) {
          mstore(out, or(shl(248, 0x05), or(shl(224, 32), shl(208, 32))))
          mstore(add(out, 6), balance(target))
          out := add(out, 38)
          continue
        }
        if iszero(and(kind, 0x08)) {
          length := load(inCode, at, 2)
          at := add(at, 2)
          copy(inCode, calldata_, at, length)
          at := add(at, length)
        }

        // What is left is shared among the reads that are left, but for what the work around them takes.
        let share := 0
        let before := gas()
        {
          let kept := add(reserve, mul(left, 2500))
          if gt(before, kept) { share := div(sub(before, kept), left) }
        }
        let success := staticcall(share, target, calldata_, length, 0, 0)
        let used := sub(before, gas())

        let flags := or(success, shl(1, iszero(lt(used, sub(share, shr(2, share))))))
        let size := returndatasize()
        let from := 0
        let bytes_ := 0
        switch success
        case 0 {
          if and(kind, 0x20) {
            bytes_ := size
            if gt(bytes_, 164) { bytes_ := 164 }
          }
        }
        default {
          switch and(kind, 0x02)
          case 0 {
            if iszero(lt(size, add(skip, take))) {
              flags := or(flags, 0x04)
              from := skip
              bytes_ := take
            }
          }
          default {
            if iszero(lt(size, add(skip, 32))) {
              returndatacopy(0, skip, 32)
              let offset := mload(0)
              if iszero(gt(offset, sub(size, 32))) {
                returndatacopy(0, offset, 32)
                let dynamic := mload(0)
                offset := add(offset, 32)
                if iszero(or(gt(dynamic, take), gt(dynamic, sub(size, offset)))) {
                  flags := or(flags, 0x04)
                  from := offset
                  bytes_ := dynamic
                }
              }
            }
          }
        }
        if gt(size, 0xffffff) { size := 0xffffff }
        mstore(out, or(shl(248, flags), or(shl(224, size), shl(208, bytes_))))
        if bytes_ { returndatacopy(add(out, 6), from, bytes_) }
        out := add(out, add(6, bytes_))
      }
      return(answer, sub(out, answer))
    }
  }
}
