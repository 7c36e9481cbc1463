use super::*;
use crate::abi::view::{Function, Returned};
use crate::jsonrpc::{self, BlockTag};
use proptest::prelude::*;

const OWNER: Address = Address::from_bytes([7; 20]);
const CONTRACT: Address = Address::from_bytes([9; 20]);

fn chain() -> ChainId {
    ChainId::new(31337).unwrap()
}

fn balance(contract: u8) -> Read {
    Read::Erc721Balance {
        contract: Address::from_bytes([contract; 20]),
        owner: OWNER,
    }
}

fn view(returns: &str, which: &str) -> Read {
    let function = format!("function f() view returns ({returns})");
    let function = Function::parse(&function).unwrap();
    Read::View {
        contract: CONTRACT,
        calldata: vec![1, 2, 3, 4],
        element: function.element(which).unwrap(),
    }
}

fn owner() -> Read {
    Read::Erc721Owner {
        contract: CONTRACT,
        token_id: U256::from(5),
    }
}

fn ids(count: u64) -> Read {
    Read::Erc1155Balances {
        contract: CONTRACT,
        owner: OWNER,
        ids: (0..count).map(U256::from).collect(),
    }
}

fn word(value: u64) -> Vec<u8> {
    U256::from(value).to_be_bytes::<32>().to_vec()
}

/// What leads an answer, at block 100 of `chain`.
fn head(chain: u64, known: u8) -> Vec<u8> {
    let mut head = word(chain);
    head.extend(100_u64.to_be_bytes());
    head.extend(1_800_000_000_u64.to_be_bytes());
    head.extend([99; 32]);
    head.extend([known; 32]);
    head
}

fn part(flags: u8, size: u32, bytes: &[u8]) -> Vec<u8> {
    let mut part = vec![flags];
    part.extend(&size.to_be_bytes()[1..]);
    part.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
    part.extend(bytes);
    part
}

fn decode(reads: &[Read], parts: &[Vec<u8>]) -> Result<Answer, ReaderError> {
    let reader = Reader::new(chain(), reads.iter().collect(), None);
    reader.decode(&[head(31337, 0), parts.concat()].concat())
}

fn request(reads: &[Read]) -> Vec<u8> {
    Reader::new(chain(), reads.iter().collect(), None).request(0)
}

#[test]
fn the_code_is_hexadecimal_and_short() {
    assert!((1_000..1_200).contains(&code().len()), "{}", code().len());
}

#[test]
fn nothing_in_the_code_can_write() {
    let code = code();
    let (mut at, mut static_calls) = (0, 0);
    while let Some(opcode) = code.get(at) {
        // SSTORE, TSTORE, LOG0 to LOG4, CREATE, CALL, CALLCODE, DELEGATECALL, CREATE2, SELFDESTRUCT.
        let writes = [0x55, 0x5d, 0xf0, 0xf1, 0xf2, 0xf4, 0xf5, 0xff];
        assert!(
            !writes.contains(opcode) && !(0xa0..=0xa4).contains(opcode),
            "{opcode:#x} at {at}"
        );
        static_calls += usize::from(*opcode == 0xfa);
        // What PUSH1 to PUSH32 push is data.
        at += match opcode {
            0x60..=0x7f => usize::from(opcode - 0x5e),
            _ => 1,
        };
    }
    assert_eq!(static_calls, 3, "of ArbSys twice, and of what is read");
}

#[test]
fn what_used_up_its_gas_says_nothing_even_alone() {
    let outcome = |is_spent| Outcome {
        value: Ok(Value::Nobody),
        is_spent,
    };
    assert_eq!(outcome(false).alone(), Ok(Value::Nobody));
    assert_eq!(outcome(true).alone(), Err(Unreadable));
}

#[test]
fn what_is_sent_for_facts_has_a_bound() {
    let facts = |count: u8| (1..=count).map(balance).collect::<Vec<_>>();
    // Of each contract its address; the calldata about the one owner once.
    for (count, most) in [(1, 75), (10, 264), (100, 2_154)] {
        let sent = request(&facts(count)).len();
        assert!(sent <= most, "{count} facts: {sent} bytes");
        println!(
            "{count} facts: {sent} bytes, and the code's {}",
            code().len()
        );
    }
}

#[test]
fn a_request_says_nothing_twice() {
    let reads = [balance(9), balance(8), owner(), owner()];
    let request = request(&reads);
    let length = 16 + (1 + 20 + 2 + 36) + (1 + 20) + (1 + 20 + 2 + 36) + 1;
    assert_eq!(request.len(), length);
    assert_eq!(request[14..16], [0, 4]);
    let kinds = [request[16], request[75], request[96], request[155]];
    assert_eq!(
        kinds,
        [
            0,
            SAME_CALLDATA,
            REVERT_WANTED,
            SAME_TARGET | SAME_CALLDATA | REVERT_WANTED
        ]
    );
    let most = u32::from_be_bytes(request[2..6].try_into().unwrap());
    assert_eq!(most, 112 + 2 * 38 + 2 * 170);
}

#[test]
fn each_form_carries_the_request_where_the_reader_looks_for_it() {
    let read = balance(9);
    let reader = Reader::new(chain(), vec![&read], None);
    let call = |form| reader.call(form, 1_530);
    let body = |form| {
        let request =
            crate::jsonrpc::eth_call(&call(form).unwrap(), crate::jsonrpc::BlockTag::Latest);
        serde_json::from_slice::<serde_json::Value>(&request.to_body()).unwrap()["params"].clone()
    };
    let plain = format!("0x{}", hex::encode(reader.request(0)));
    let by_override = body(Form::Override);
    assert_eq!(by_override[0]["data"], plain);
    assert_eq!(by_override[0]["to"], ADDRESS.to_lower_hex());
    assert_eq!(
        by_override[2][ADDRESS.to_lower_hex()]["code"],
        format!("0x{}", CODE.trim_ascii_end())
    );
    let created = body(Form::Creation);
    assert!(created[0].get("to").is_none());
    assert_eq!(
        created[0]["data"],
        format!(
            "0x{}{}",
            CODE.trim_ascii_end(),
            hex::encode(reader.request(1_530))
        )
    );
    let deployed = body(Form::Deployed(CONTRACT));
    assert_eq!(
        (&deployed[0]["to"], &deployed[0]["data"]),
        (&CONTRACT.to_lower_hex().into(), &plain.into())
    );
    // Some contracts answer the zero address otherwise than anybody else.
    for params in [&by_override, &created, &deployed] {
        let from = params[0]["from"].as_str().unwrap();
        assert_ne!(from, Address::from_bytes([0; 20]).to_lower_hex());
    }
    assert_eq!(call(Form::Calls), None);
}

#[test]
fn each_read_gets_its_own_outcome_at_one_block() {
    let reads = [
        balance(9),
        owner(),
        view("uint256, string", "1"),
        balance(8),
        balance(7),
    ];
    let reverted = hex::decode("7e273289").unwrap();
    let answer = decode(
        &reads,
        &[
            part(SUCCESS | WHOLE, 32, &word(2)),
            part(0, 4, &reverted),
            part(SUCCESS | WHOLE, 128, b"gold"),
            part(SPENT, 0, &[]),
            part(SUCCESS, 0, &[]),
        ],
    );
    let answer = answer.unwrap();
    let values: Vec<_> = answer
        .outcomes
        .iter()
        .map(|outcome| outcome.value.clone())
        .collect();
    assert_eq!(
        values,
        [
            Ok(Value::Amount(U256::from(2))),
            Ok(Value::Nobody),
            Ok(Value::Returned(Returned::Bytes(b"gold".to_vec()))),
            Err(Unreadable),
            Err(Unreadable),
        ]
    );
    let spent: Vec<_> = answer
        .outcomes
        .iter()
        .map(|outcome| outcome.is_spent)
        .collect();
    assert_eq!(spent, [false, false, false, true, false]);
    let parent = BlockId {
        number: 99,
        hash: [99; 32],
    };
    assert_eq!(
        answer.block,
        ExecutionBlock {
            number: 100,
            timestamp: 1_800_000_000,
            parent: Some(parent),
            reorged: false,
        }
    );
}

#[test]
fn a_known_block_of_another_hash_is_a_reorg_and_one_out_of_reach_is_none() {
    let known = BlockId {
        number: 98,
        hash: [5; 32],
    };
    let reader = Reader::new(chain(), Vec::new(), Some(known));
    assert_eq!(reader.request(0)[6..14], 98_u64.to_be_bytes());
    for (there, reorged) in [(5, false), (6, true), (0, false)] {
        let answer = reader.decode(&head(31337, there)).unwrap();
        assert_eq!(answer.block.reorged, reorged, "{there}");
    }
}

#[test]
fn a_list_of_256_ids_is_summed() {
    let read = ids(256);
    let mut returned = [word(32), word(256)].concat();
    returned.extend(word(3).repeat(256));
    let size = u32::try_from(returned.len()).unwrap();
    let answer = decode(
        std::slice::from_ref(&read),
        &[part(SUCCESS | WHOLE, size, &returned)],
    );
    assert_eq!(
        answer.unwrap().outcomes[0].value,
        Ok(Value::Amounts(U256::from(768)))
    );
    assert_eq!(read.slice().take, 64 + 256 * 32);
    let short = decode(&[read], &[part(SUCCESS | WHOLE, 64, &returned[..64])]);
    assert_eq!(short.unwrap().outcomes[0].value, Err(Unreadable));
}

#[test]
fn a_value_in_an_answer_that_is_shorter_than_its_head_is_unreadable() {
    let read = view("uint256, uint256, uint256", "0");
    for (size, is_read) in [(96, true), (95, false), (32, false)] {
        let answer = decode(
            std::slice::from_ref(&read),
            &[part(SUCCESS | WHOLE, size, &word(7))],
        );
        assert_eq!(answer.unwrap().outcomes[0].value.is_ok(), is_read, "{size}");
    }
    let narrow = view("uint8", "0");
    let answer = decode(&[narrow], &[part(SUCCESS | WHOLE, 32, &word(256))]);
    assert_eq!(answer.unwrap().outcomes[0].value, Err(Unreadable));
}

#[test]
fn another_chain_is_told_apart_from_what_is_no_answer() {
    let read = balance(9);
    let reader = Reader::new(chain(), vec![&read], None);
    let two = part(SUCCESS | WHOLE, 32, &word(2));
    let whole = [head(31337, 0), two.clone()].concat();
    assert!(reader.decode(&whole).is_ok());
    assert_eq!(
        reader.decode(&[head(1, 0), two.clone()].concat()),
        Err(ReaderError::WrongChain)
    );
    let longer = [whole.clone(), vec![0]].concat();
    let mut beyond = whole.clone();
    beyond[0] = 1;
    let mut odd = whole.clone();
    odd[112] = 0x80;
    for answer in [
        &[][..],
        &word(1),
        &whole[..whole.len() - 1],
        &longer,
        &beyond,
        &odd,
    ] {
        assert_eq!(reader.decode(answer), Err(ReaderError::Unsupported));
    }
}

#[test]
fn every_call_names_its_gas_and_creation_code_what_its_answer_costs() {
    let gas = |reads: &[Read], form| {
        let reader = Reader::new(chain(), reads.iter().collect(), None);
        let call = reader.call(form, 1_000).unwrap();
        let body = jsonrpc::eth_call(&call, BlockTag::Latest).to_body();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let gas = body["params"][0]["gas"].as_str().unwrap();
        u64::from_str_radix(gas.strip_prefix("0x").unwrap(), 16).unwrap()
    };
    let many: Vec<_> = (0..400).map(|_| balance(9)).collect();
    let deployed = Form::Deployed(CONTRACT);
    for form in [Form::Override, deployed] {
        assert_eq!(gas(&[balance(9)], form), GAS);
        assert_eq!(gas(&many, form), 40_000_000);
    }
    let answer = u64::try_from(ANSWER_HEAD + PART_HEAD + 32).unwrap();
    assert_eq!(gas(&[balance(9)], Form::Creation), GAS + 1_000 * answer);
}

#[test]
fn pieces_keep_within_each_bound() {
    let reads: Vec<_> = (0..1_000)
        .map(|id| Read::Erc721Owner {
            contract: CONTRACT,
            token_id: U256::from(id),
        })
        .collect();
    let limits = Limits {
        reads: 5_000,
        request: 128 * 1024,
        answer: usize::MAX,
    };
    assert_eq!(pieces(&reads, limits).len(), 1);
    let of_creation = pieces(&reads, limits.of(Form::Creation));
    assert_eq!(of_creation.len(), 7);
    for piece in &of_creation {
        let part = &reads[piece.clone()];
        let answer: usize = part.iter().map(answer_len).sum();
        assert!(ANSWER_HEAD + answer <= 24_576);
        assert!(code().len() + request(part).len() <= 49_152);
    }
    assert_eq!(
        of_creation.iter().map(|piece| piece.len()).sum::<usize>(),
        1_000
    );
    let by_count = pieces(
        &reads,
        Limits {
            reads: 400,
            ..limits
        },
    );
    assert_eq!(by_count, [0..400, 400..800, 800..1_000]);
    for piece in pieces(
        &reads,
        Limits {
            request: 1_024,
            ..limits
        },
    ) {
        assert!(request(&reads[piece]).len() <= 1_024);
    }
    // A list of 256 ids is more than such a request by itself.
    assert_eq!(
        pieces(
            &[ids(256), owner()],
            Limits {
                request: 1_024,
                ..limits
            }
        ),
        [0..1, 1..2]
    );
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..400), own in any::<bool>()) {
        let reads = [balance(9), owner(), ids(2), view("string", "0"), view("uint8", "0")];
        let reader = Reader::new(chain(), reads.iter().collect(), None);
        let bytes = if own { [head(31337, 0), bytes].concat() } else { bytes };
        if let Ok(answer) = reader.decode(&bytes) {
            prop_assert_eq!(answer.outcomes.len(), reads.len());
        }
    }

    #[test]
    fn outcomes_keep_their_order(values in proptest::collection::vec(any::<Option<u64>>(), 0..50)) {
        let reads: Vec<_> = (0..values.len()).map(|_| balance(9)).collect();
        let parts: Vec<_> = values.iter().map(|value| match value {
            Some(value) => part(SUCCESS | WHOLE, 32, &word(*value)),
            None => part(SPENT, 0, &[]),
        }).collect();
        let answer = decode(&reads, &parts).unwrap();
        for (outcome, value) in answer.outcomes.iter().zip(values) {
            let expected = value.map(|value| Value::Amount(U256::from(value))).ok_or(Unreadable);
            prop_assert_eq!((&outcome.value, outcome.is_spent), (&expected, expected.is_err()));
        }
    }
}
