use super::*;

#[test]
fn calls_are_encoded_as_nodes_expect_them() {
    let body = |call| -> Value {
        serde_json::from_slice(&eth_call(&call, BlockTag::Number(255)).to_body()).unwrap()
    };
    assert_eq!(
        body(Call::to(Address::from_bytes([1; 20]), vec![0xab, 0xcd])),
        json!({"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [{"from": CALLER.to_lower_hex(), "to": "0x0101010101010101010101010101010101010101", "data": "0xabcd"}, "0xff"]})
    );
    // A check of a signature has a caller, so that no contract takes it for a rehearsal.
    assert_eq!(
        body(Call::deployless(vec![0xab]))["params"][0],
        json!({"from": CALLER.to_lower_hex(), "data": "0xab"})
    );
}

#[test]
fn results_are_read() {
    assert_eq!(
        data(br#"{"jsonrpc":"2.0","id":1,"result":"0x00ff"}"#),
        Ok(vec![0, 255])
    );
    assert_eq!(
        data(br#"{"jsonrpc":"2.0","id":1,"result":"0x"}"#),
        Ok(vec![])
    );
    assert_eq!(
        quantity(br#"{"jsonrpc":"2.0","id":1,"result":"0x7a69","error":null}"#),
        Ok(31337)
    );
}

#[test]
fn everything_else_is_no_result() {
    for body in [
        &b""[..],
        b"<html>",
        br#"{"jsonrpc":"2.0","id":1,"result":"0x00ff"#,
        br#"{"jsonrpc":"2.0","id":2,"result":"0x00"}"#,
        br#"{"jsonrpc":"2.0","id":"1","result":"0x00"}"#,
        br#"{"jsonrpc":"1.0","id":1,"result":"0x00"}"#,
        br#"{"jsonrpc":"2.0","id":1,"result":null}"#,
        br#"{"jsonrpc":"2.0","id":1,"result":0}"#,
        br#"{"jsonrpc":"2.0","id":1,"result":"00"}"#,
        br#"{"jsonrpc":"2.0","id":1,"result":"0x0"}"#,
        br#"{"jsonrpc":"2.0","id":1}"#,
        br#"[{"jsonrpc":"2.0","id":1,"result":"0x00"}]"#,
    ] {
        assert_eq!(
            data(body),
            Err(ReplyError::Malformed),
            "{}",
            String::from_utf8_lossy(body)
        );
    }
    for result in ["0x", "7", "0x-1", "0x+1", "0x10000000000000000"] {
        assert_eq!(
            quantity(format!(r#"{{"jsonrpc":"2.0","id":1,"result":"{result}"}}"#).as_bytes()),
            Err(ReplyError::Malformed),
            "{result}"
        );
    }
    let error =
        data(br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32005,"message":"slow down"}}"#);
    assert_eq!(error, Err(ReplyError::Node { code: -32005 }));
}

#[test]
fn a_block_is_named_by_its_hash_as_long_as_it_is_part_of_the_chain() {
    let request = eth_get_balance(Address::from_bytes([1; 20]), BlockTag::Hash([2; 32]));
    assert_eq!(
        request.params[1],
        json!({"blockHash": format!("0x{}", "02".repeat(32)), "requireCanonical": true})
    );
}

#[test]
fn a_batch_is_answered_in_any_order_and_whole() {
    let owner = Address::from_bytes([7; 20]);
    let requests = [eth_get_balance(owner, BlockTag::Latest), eth_chain_id()];
    let sent: Value = serde_json::from_slice(&batch(&requests)).unwrap();
    assert_eq!(
        sent,
        json!([
            {"jsonrpc": "2.0", "id": 1, "method": "eth_getBalance", "params": [owner.to_lower_hex(), "latest"]},
            {"jsonrpc": "2.0", "id": 2, "method": "eth_chainId", "params": []},
        ])
    );
    let answered = br#"[{"jsonrpc":"2.0","id":2,"error":{"code":3,"message":"execution reverted","data":"0x01"}},{"jsonrpc":"2.0","id":1,"result":"0x00ff"}]"#;
    assert_eq!(
        batched(answered, 2),
        Ok(vec![
            Ok(Answer("0x00ff".into())),
            Err(ReplyError::Reverted(vec![1]))
        ])
    );
    for body in [
        &br#"[{"jsonrpc":"2.0","id":1,"result":"0x00"}]"#[..],
        br#"[{"jsonrpc":"2.0","id":1,"result":"0x00"},{"jsonrpc":"2.0","id":1,"result":"0x00"}]"#,
        br#"[{"jsonrpc":"2.0","id":1,"result":"0x00"},{"jsonrpc":"2.0","id":3,"result":"0x00"}]"#,
        br#"[{"jsonrpc":"2.0","id":1,"result":"0x00"},{"jsonrpc":"2.0","id":0,"result":"0x00"}]"#,
        br#"{"jsonrpc":"2.0","id":1,"result":"0x00"}"#,
        b"[]",
    ] {
        assert_eq!(
            batched(body, 2),
            Err(ReplyError::Malformed),
            "{}",
            String::from_utf8_lossy(body)
        );
    }
    assert_eq!(
        batched(
            br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no batches"}}"#,
            2
        ),
        Err(ReplyError::Node { code: -32600 })
    );
}

#[test]
fn amounts_have_256_bits_and_quantities_64() {
    let answer = |text: &str| Answer(text.into());
    assert_eq!(
        answer("0x10000000000000000").amount(),
        Ok(U256::from(1) << 64)
    );
    assert_eq!(
        answer("0x10000000000000000").quantity(),
        Err(ReplyError::Malformed)
    );
    let long = format!("0x1{}", "0".repeat(64));
    for text in ["0x", "10", long.as_str()] {
        assert_eq!(answer(text).amount(), Err(ReplyError::Malformed), "{text}");
    }
}

#[test]
fn headers_are_read() {
    let body = json!({"jsonrpc": "2.0", "id": 1, "result": {"number": "0x10", "hash": format!("0x{}", "0a".repeat(32)), "timestamp": "0x6", "miner": "0x"}});
    let expected = Header {
        number: 16,
        hash: [10; 32],
        timestamp: 6,
    };
    assert_eq!(header(body.to_string().as_bytes()), Ok(Some(expected)));
    assert_eq!(
        header(br#"{"jsonrpc":"2.0","id":1,"result":null}"#),
        Ok(None)
    );
    for broken in [
        &br#"{"jsonrpc":"2.0","id":2,"result":null}"#[..],
        br#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        br#"{"jsonrpc":"2.0","id":1,"result":{"number":"0x1","hash":"0x07","timestamp":"0x1"}}"#,
    ] {
        assert_eq!(header(broken), Err(ReplyError::Malformed));
    }
    assert_eq!(
        header(br#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no tag"}}"#),
        Err(ReplyError::Node { code: -32602 })
    );
}

#[test]
fn logs_are_asked_for_by_contracts_and_events() {
    let request = eth_get_logs(
        255,
        256,
        &[Address::from_bytes([1; 20]), Address::from_bytes([2; 20])],
        &[[3; 32], [4; 32]],
    );
    let sent: Value = serde_json::from_slice(&request.to_body()).unwrap();
    let word = |byte: &str| format!("0x{}", byte.repeat(32));
    assert_eq!(
        (&sent["method"], &sent["params"]),
        (
            &json!("eth_getLogs"),
            &json!([{
                "fromBlock": "0xff",
                "toBlock": "0x100",
                "address": [format!("0x{}", "01".repeat(20)), format!("0x{}", "02".repeat(20))],
                "topics": [[word("03"), word("04")]],
            }])
        )
    );
}

#[test]
fn a_revert_is_told_from_a_failure_of_the_node() {
    let error = |code: i64, message: &str| {
        let body = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": message, "data": "0xab"}});
        data(body.to_string().as_bytes())
    };
    assert_eq!(error(3, "whatever"), Err(ReplyError::Reverted(vec![0xab])));
    assert_eq!(
        error(-32000, "execution reverted: no"),
        Err(ReplyError::Reverted(vec![0xab]))
    );
    assert_eq!(
        error(-32000, "header not found"),
        Err(ReplyError::Node { code: -32000 })
    );
}
