use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn header(number: u64, fork: u8) -> Header {
    let mut hash = [fork; 32];
    hash[..8].copy_from_slice(&number.to_be_bytes());
    Header {
        number,
        hash,
        timestamp: 1_000 * u64::from(fork) + number,
    }
}

fn transfer(block: u64, token: u64) -> Transfer {
    Transfer {
        contract: Address::from_bytes([9; 20]),
        from: Address::from_bytes([1; 20]),
        to: Address::from_bytes([2; 20]),
        tokens: Tokens::Token(U256::from(token)),
        block,
        removed: false,
    }
}

fn found(transfers: Vec<Transfer>) -> Found {
    Found {
        transfers,
        ..Found::default()
    }
}

/// A cursor that has ended steps at these blocks, each with one transfer in it.
fn cursor(numbers: &[u64]) -> Cursor {
    let first = Cursor::at(header(numbers[0], 0));
    numbers[1..].iter().fold(first, |cursor, number| {
        let start = cursor.start(&[*cursor.newest().unwrap()], *number);
        let found = found(vec![transfer(*number, *number)]);
        start.end(header(*number, 0), found).cursor
    })
}

#[test]
fn what_was_told_above_the_ancestor_is_undone_and_read_again() {
    let cursor = cursor(&[10, 12, 14]);
    let same = cursor.start(&[header(14, 0)], 20);
    assert_eq!((same.next(), same.is_reorganised()), (15, false));
    assert!(same.undone.is_empty());

    let blocks = [header(14, 1), header(12, 0)];
    let start = cursor.start(&blocks, 20);
    assert_eq!((start.next(), start.is_reorganised()), (13, true));
    let round = start.end(
        header(20, 1),
        found(vec![transfer(14, 14), transfer(16, 1)]),
    );
    assert_eq!(round.undone, [transfer(14, 14)]);
    assert_eq!(round.told, [transfer(14, 14), transfer(16, 1)]);
    assert!(round.reorganised && !round.all_undone);
    let names: Vec<_> = round.cursor.blocks.iter().map(|b| b.number).collect();
    assert_eq!(names, [10, 12, 20]);
}

#[test]
fn where_no_ancestor_is_left_everything_recent_is_read_again() {
    let cursor = cursor(&[1_000, 1_002, 1_004]);
    let start = cursor.start(&[header(1_000, 1)], 1_010);
    assert_eq!((start.next(), start.undone.len()), (1_004 - DEPTH, 2));
    // Of a chain that is shorter, and that has just begun.
    assert_eq!(cursor.start(&[], 500).next(), 500 - DEPTH);
    assert_eq!(cursor.start(&[], 5).next(), 0);
}

#[test]
fn what_is_read_once_more_is_not_told_once_more() {
    let cursor = cursor(&[10, 12]);
    let start = cursor.start(&[header(12, 0)], 14);
    assert_eq!(start.from(0), 11, "none of them is settled");
    let unknown = Cursor {
        settled: None,
        ..cursor
    };
    let start = unknown.start(&[header(12, 0)], 14);
    assert_eq!((start.from(0), start.from(1), start.from(9)), (13, 12, 11));
    let again = found(vec![transfer(12, 12), transfer(12, 13), transfer(13, 1)]);
    let round = start.end(header(14, 0), again);
    assert_eq!(round.told, [transfer(12, 13), transfer(13, 1)]);
    // Nothing but blocks that were read before: the cursor stays where it is.
    let start = round.cursor.start(&[header(14, 0)], 15);
    let again = Found {
        settled: Some(12),
        ..found(vec![transfer(12, 14)])
    };
    let round = start.end(header(14, 0), again);
    assert_eq!(round.told, [transfer(12, 14)]);
    assert_eq!(round.cursor.newest(), Some(&header(14, 0)));
    let start = round.cursor.start(&[header(14, 0)], 15);
    assert_eq!((start.from(0), start.next()), (13, 15));
}

#[test]
fn a_lower_head_leaves_the_cursor_only_where_it_was_made_later() {
    let cursor = cursor(&[10, 12]);
    assert!(!cursor.is_left_by(&header(11, 0)));
    assert!(cursor.is_left_by(&header(11, 1)));
    assert!(!cursor.is_left_by(&header(12, 1)));
    assert!(!Cursor::default().is_left_by(&header(1, 1)));
}

#[test]
fn candidates_are_few_newest_first_and_no_newer_than_the_head() {
    let numbers: Vec<u64> = (1..=100).collect();
    let cursor = cursor(&numbers);
    assert_eq!(cursor.blocks.len(), MAX_BLOCKS);
    let of = |head| -> Vec<u64> {
        let blocks = cursor.candidates(head).into_iter();
        blocks.map(|block| block.number).collect()
    };
    assert_eq!(of(200), [100, 99, 98, 96, 92, 84, 68, 37]);
    assert_eq!(of(39), [39, 38, 37]);
    assert!(of(36).is_empty());
}

#[test]
fn what_is_remembered_is_bounded_and_what_is_not_is_said() {
    let many: Vec<_> = (0..3_000).map(|token| transfer(11, token)).collect();
    let start = Cursor::at(header(10, 0)).start(&[header(10, 0)], 11);
    let round = start.end(header(11, 0), found(many.clone()));
    assert_eq!((round.told.len(), round.dropped), (3_000, 1_000));
    assert_eq!(round.cursor.recent, many[1_000..]);

    let kinds = Transfer {
        tokens: Tokens::Kinds(vec![U256::ONE; 2_001]),
        ..transfer(12, 1)
    };
    let start = round.cursor.start(&[header(11, 0)], 12);
    let round = start.end(header(12, 0), found(vec![kinds]));
    assert_eq!(round.dropped, 2_001);
    assert!(round.cursor.recent.is_empty());

    let start = cursor(&[10, 12]).start(&[header(12, 0)], 12 + DEPTH);
    let round = start.end(header(12 + DEPTH, 0), found(Vec::new()));
    assert_eq!((round.cursor.recent.len(), round.dropped), (0, 0));
}

#[test]
fn a_reorganisation_of_transfers_that_are_not_remembered_undoes_all() {
    let many: Vec<_> = (0..3_000).map(|token| transfer(11, token)).collect();
    let start = Cursor::at(header(10, 0)).start(&[header(10, 0)], 12);
    let cursor = start.end(header(11, 0), found(many)).cursor;
    let cursor = Cursor::from_bytes(&cursor.to_bytes());
    let undone = |cursor: &Cursor, found: &[Header]| {
        let start = cursor.start(found, 13);
        start.end(header(13, 1), super::Found::default()).all_undone
    };
    assert!(undone(&cursor, &[header(11, 1), header(10, 0)]));
    assert!(!undone(&cursor, &[header(11, 0)]), "they are still there");
    // Nor is it known what was undone where a block could not be read, or no block is left.
    let start = Cursor::at(header(10, 0)).start(&[header(10, 0)], 11);
    let unread = Found {
        incomplete: 11,
        ..Found::default()
    };
    let cursor = start.end(header(11, 0), unread).cursor;
    assert!(undone(&cursor, &[header(11, 1), header(10, 0)]));
    assert!(undone(&self::cursor(&[10, 12]), &[header(10, 1)]));
    assert!(!undone(
        &self::cursor(&[10, 12]),
        &[header(12, 1), header(10, 0)]
    ));
    // However far the chain has gone on: a reorg may reach it in several steps.
    let start = cursor.start(&[header(11, 0)], 11 + DEPTH);
    let cursor = start.end(header(11 + DEPTH, 0), Found::default()).cursor;
    assert_eq!(cursor.incomplete, 11);
}

#[test]
fn the_number_of_a_block_is_uncertain_until_the_replaced_ones_are_passed() {
    let cursor = cursor(&[10, 12, 14]);
    let start = cursor.start(&[header(14, 1), header(12, 0)], 20);
    let round = start.end(header(13, 1), Found::default());
    assert_eq!(round.reorged, 20);
    let cursor = Cursor::from_bytes(&round.cursor.to_bytes());
    let start = cursor.start(&[header(13, 1)], 22);
    let round = start.end(header(21, 1), Found::default());
    assert_eq!((round.reorganised, round.reorged), (false, 20));
    let start = round.cursor.start(&[header(21, 1)], 22);
    assert_eq!(start.end(header(22, 1), Found::default()).reorged, 0);
}

#[test]
fn a_cursor_survives_the_store_and_anything_else_is_a_start() {
    let mut kept = cursor(&[10, 12]);
    kept.recent.extend([
        Transfer {
            tokens: Tokens::Amount,
            ..transfer(12, 0)
        },
        Transfer {
            tokens: Tokens::Range(U256::ONE, U256::MAX),
            ..transfer(12, 0)
        },
        Transfer {
            tokens: Tokens::Kinds(vec![U256::ONE, U256::MAX]),
            ..transfer(12, 0)
        },
        Transfer {
            tokens: Tokens::Kinds(Vec::new()),
            ..transfer(12, 0)
        },
    ]);
    let bytes = kept.to_bytes();
    assert_eq!(Cursor::from_bytes(&bytes), kept);
    let text = String::from_utf8(bytes).unwrap();
    let hash = hex::encode(header(12, 0).hash);
    for (from, to) in [
        ("\"e\":1", "\"e\":2"),
        ("\"e\":1", "\"e\":1,\"x\":1"),
        ("[12,", "[10,"),
        (hash.as_str(), "00"),
        ("\"t12\"", "\"t-12\""),
        ("\"t12\"", "\"x\""),
        ("\"t12\"", "\"\""),
        ("\"a\"", "\"a1\""),
        ("\"k1,", "\"k1,,"),
        ("\"r1,", "\"r1"),
        ("}", ""),
    ] {
        assert!(text.contains(from), "{from} in {text}");
        let broken = text.replacen(from, to, 1);
        let read = Cursor::from_bytes(broken.as_bytes());
        assert_eq!(read, Cursor::default(), "{broken}");
    }
    for bytes in [&b""[..], b"null", b"{}", br#"{"e":1,"b":[],"t":[]}"#] {
        assert_eq!(Cursor::from_bytes(bytes), Cursor::default());
    }
}

#[test]
fn a_block_is_estimated_between_two() {
    let block = |number, timestamp| Header {
        number,
        timestamp,
        hash: [0; 32],
    };
    let (older, newer) = (block(100, 1_000), block(200, 2_000));
    assert_eq!(estimate(&older, &newer, 1_500), 150);
    assert_eq!(estimate(&older, &newer, 0), 100);
    assert_eq!(estimate(&older, &newer, 9_000), 200);
    assert_eq!(estimate(&older, &older, 9_000), 100);
    let far = block(u64::MAX, u64::MAX);
    assert_eq!(estimate(&block(0, 0), &far, u64::MAX), u64::MAX);
}

/// A chain whose blocks are replaced now and then.
#[derive(Default)]
struct Simulated {
    blocks: Vec<(Header, Vec<Transfer>)>,
    made: u64,
}

impl Simulated {
    fn grow(&mut self, transfers: &[u8]) {
        for count in transfers {
            self.made += 1;
            let number = u64::try_from(self.blocks.len()).unwrap();
            let header = Header {
                number,
                hash: U256::from(self.made).to_be_bytes(),
                timestamp: self.made,
            };
            // No two transfers are the same, but of another block.
            let transfers = (0..u64::from(*count))
                .map(|index| transfer(number, self.made * 10 + index))
                .collect();
            self.blocks.push((header, transfers));
        }
    }

    fn head(&self) -> Header {
        self.blocks.last().unwrap().0
    }

    fn header(&self, number: u64) -> Header {
        self.blocks[usize::try_from(number).unwrap()].0
    }

    fn transfers(&self, from: u64, to: u64) -> Vec<Transfer> {
        let within = |header: &Header| (from..=to).contains(&header.number);
        let blocks = self.blocks.iter().filter(|(header, _)| within(header));
        blocks
            .flat_map(|(_, transfers)| transfers.clone())
            .collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Blocks with so many transfers each.
    Grow(Vec<u8>),
    /// So many blocks are replaced by others.
    Replace(usize, Vec<u8>),
    /// A round that reads at most so many blocks.
    Round(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let blocks = |most| prop::collection::vec(0_u8..3, 0..most);
    let deepest = usize::try_from(DEPTH).unwrap();
    prop_oneof![
        2 => blocks(12).prop_map(Step::Grow),
        1 => blocks(80).prop_map(Step::Grow),
        2 => (0_usize..8, blocks(12)).prop_map(|(depth, blocks)| Step::Replace(depth, blocks)),
        1 => (0..=deepest, blocks(80)).prop_map(|(depth, blocks)| Step::Replace(depth, blocks)),
        6 => (1_u64..40).prop_map(Step::Round),
    ]
}

proptest! {
    /// What was said last of every transfer is what is true of it, as far as the cursor has come.
    #[test]
    fn every_transfer_is_told_and_every_undone_one_is_told_as_undone(
        steps in prop::collection::vec(step(), 1..60),
        overlap in 0_u64..5,
    ) {
        let mut chain = Simulated::default();
        chain.grow(&[0; 300]);
        let started = chain.head();
        let mut cursor = Cursor::at(started);
        // By the block and the token: whether it was last told, or last undone.
        let mut said: BTreeMap<(u64, U256), bool> = BTreeMap::new();
        let key = |transfer: &Transfer| match transfer.tokens {
            Tokens::Token(token) => (transfer.block, token),
            _ => unreachable!(),
        };
        // Blocks that no round ends at may be read on one chain and replaced before the first.
        let mut highest = started.number;
        let mut told_from = started.number + 1;
        for step in steps {
            match step {
                Step::Grow(blocks) => chain.grow(&blocks),
                Step::Replace(depth, blocks) => {
                    // As deep as is promised, from the highest that was ever read.
                    let read = usize::try_from(highest.saturating_sub(DEPTH)).unwrap();
                    let left = chain.blocks.len().saturating_sub(depth).max(read + 1);
                    chain.blocks.truncate(left.min(chain.blocks.len()));
                    chain.grow(&blocks);
                    // A head that is lower and not newer is taken for a provider that is behind.
                    chain.grow(&[1]);
                }
                Step::Round(most) => {
                    let head = chain.head();
                    let newest = *cursor.newest().unwrap();
                    prop_assert!(head.number >= newest.number || cursor.is_left_by(&head));
                    let mut found = Vec::new();
                    for candidate in cursor.candidates(head.number) {
                        found.push(chain.header(candidate.number));
                        if found.last() == Some(&candidate) {
                            break;
                        }
                    }
                    let start = cursor.start(&found, head.number);
                    let next = start.next();
                    let end = head.number.min(next + most - 1);
                    let found = Found {
                        transfers: chain.transfers(start.from(overlap), end),
                        settled: Some(end.min(head.number.saturating_sub(overlap))),
                        incomplete: 0,
                    };
                    let round = start.end(chain.header(end), found);
                    if round.all_undone {
                        // All that was told is undone, whatever it was: what counts is what is told from here on.
                        said.clear();
                        told_from = next;
                    }
                    for transfer in &round.undone {
                        said.insert(key(transfer), false);
                    }
                    for transfer in &round.told {
                        said.insert(key(transfer), true);
                    }
                    prop_assert_eq!(round.dropped, 0);
                    cursor = Cursor::from_bytes(&round.cursor.to_bytes());
                    prop_assert_eq!(&cursor, &round.cursor);
                    prop_assert_eq!(cursor.newest(), Some(&chain.header(end)));
                    highest = end;

                    let canonical: BTreeSet<_> = chain.transfers(0, u64::MAX).iter().map(key).collect();
                    for (transfer, told) in &said {
                        if *told {
                            prop_assert!(canonical.contains(transfer), "{transfer:?} is not undone");
                        }
                    }
                    let followed = chain.transfers(told_from, end);
                    for transfer in followed.iter().map(key) {
                        prop_assert_eq!(said.get(&transfer), Some(&true), "{:?} is not told", transfer);
                    }
                }
            }
        }
    }
}
