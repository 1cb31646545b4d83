//! Lines of text.

use super::good::executions;
use crate::history::{Answer, Call, History, Op, OpError, Outcome};
use crate::json::{LINE_LEN_MAX, parse, read, write};

fn text(history: &History) -> Vec<u8> {
    let mut text = Vec::new();
    for op in history.ops() {
        write(op, &mut text).unwrap();
    }
    text
}

#[test]
fn what_is_written_is_read_back() {
    for (_, _, execution) in executions(0..20) {
        let history = execution.history();
        assert_eq!(read(&text(&history)[..]).unwrap(), history);
    }
}

#[test]
fn a_line_of_every_operation() {
    let mut history = History::new();
    let mut put = Op::new(1, Call::Put { key: b"k".into(), value: b"\xfe".into() }, 5).ok(7, Answer::Done).at(9);
    put.version = Some(1);
    put.session = Some("5eed".into());
    put.seq = Some(3);
    put.node = Some("n1".into());
    history.push(put).unwrap();
    history.push(Op::new("c2", Call::Get { key: b"\xff".into() }, 5).ok(7, Answer::Value(None))).unwrap();
    history.push(Op::new("c2", Call::Get { key: b"k".into() }, 5).ok(7, Answer::Value(Some(b"\xfe".into())))).unwrap();
    history.push(Op::new("c2", Call::Append { key: b"k".into(), value: b"".into() }, 5)).unwrap();
    history.push(Op::new("c2", Call::Delete { key: b"k".into() }, 5).fail(6)).unwrap();
    history.push(Op::new("c2", Call::Cas { key: b"k".into(), expect: None, value: b"v".into() }, 5).ok(6, Answer::Flag(false))).unwrap();
    let scan = Call::Scan { from: Some(b"a".into()), to: None, limit: Some(2) };
    history.push(Op::new(1, scan, 5).ok(6, Answer::List(vec![(b"k".into(), b"\xfe".into())]))).unwrap();
    let lines = "\
{\"client\":1,\"op\":\"put\",\"key\":\"k\",\"value_b64\":\"/g==\",\"call_ns\":5,\"return_ns\":7,\"outcome\":\"ok\",\"position\":9,\
\"session\":\"5eed\",\"seq\":3,\"node\":\"n1\",\"version\":1}
{\"client\":\"c2\",\"op\":\"get\",\"key_b64\":\"/w==\",\"call_ns\":5,\"return_ns\":7,\"outcome\":\"ok\",\"result\":null}
{\"client\":\"c2\",\"op\":\"get\",\"key\":\"k\",\"call_ns\":5,\"return_ns\":7,\"outcome\":\"ok\",\"result_b64\":\"/g==\"}
{\"client\":\"c2\",\"op\":\"append\",\"key\":\"k\",\"value\":\"\",\"call_ns\":5,\"return_ns\":null,\"outcome\":\"unknown\"}
{\"client\":\"c2\",\"op\":\"delete\",\"key\":\"k\",\"call_ns\":5,\"return_ns\":6,\"outcome\":\"fail\"}
{\"client\":\"c2\",\"op\":\"cas\",\"key\":\"k\",\"value\":\"v\",\"expect\":null,\"call_ns\":5,\"return_ns\":6,\
\"outcome\":\"ok\",\"result\":false}
{\"client\":1,\"op\":\"scan\",\"from\":\"a\",\"limit\":2,\"call_ns\":5,\"return_ns\":6,\"outcome\":\"ok\",\
\"result\":[{\"key\":\"k\",\"value_b64\":\"/g==\"}]}
";
    assert_eq!(String::from_utf8(text(&history)).unwrap(), lines);
    assert_eq!(read(lines.as_bytes()).unwrap(), history);
}

#[test]
fn what_may_be_absent_may_be_absent_and_fields_of_others_are_ignored() {
    let line = r#"{"op":"get","client":"x","outcome":"unknown","call_ns":1,"key":"k","process":7,"position":null,"limit":null}"#;
    assert_eq!(parse(line.as_bytes()).unwrap(), Op::new("x", Call::Get { key: b"k".into() }, 1));
    let line = r#"{"op":"scan","client":1,"outcome":"ok","call_ns":1,"return_ns":2,"from":null,"to":null,
        "result":[{"key":"\n","value":"\u0000","version":4}]}"#;
    assert_eq!(parse(line.as_bytes()).unwrap().outcome, Outcome::Ok(Answer::List(vec![(b"\n".into(), b"\0".into())])));
    let line = r#"{"op":"delete","client":1,"outcome":"ok","call_ns":1,"return_ns":2,"key":"k"}"#;
    assert_eq!(parse(line.as_bytes()).unwrap().outcome, Outcome::Ok(Answer::Done));
}

#[test]
fn a_bad_line_is_named_with_its_number_and_the_reason() {
    let good = r#"{"op":"get","client":1,"outcome":"unknown","call_ns":1,"key":"k"}"#;
    let with = |rest: &str| format!(r#"{{"client":1,"call_ns":5,{rest}}}"#);
    for (line, reason) in [
        ("}".into(), "expected value at line 1 column 1"),
        (with(r#""op":"get","outcome":"unknown""#), "a get must have `key`"),
        (with(r#""op":"put","key":"k","outcome":"unknown""#), "a put must have `value`"),
        (with(r#""op":"cas","key":"k","value":"v","outcome":"unknown""#), "a cas must have `expect`"),
        (with(r#""op":"get","key":"k","key_b64":"aw==","outcome":"unknown""#), "both `key` and `key_b64`"),
        (with(r#""op":"get","key_b64":"aw","outcome":"unknown""#), "`key_b64` is not base 64"),
        (with(r#""op":"get","key":"k","return_ns":6,"outcome":"ok""#), "a get must have `result`"),
        (with(r#""op":"get","key":"k","return_ns":4,"outcome":"fail""#), "it returns before it is called"),
        (with(r#""op":"put","key":"k","value":"v","outcome":"ok""#), "it is ok and has no return_ns"),
        (
            with(r#""op":"cas","key":"k","expect":"o","value":"v","return_ns":6,"outcome":"ok""#),
            "its result is not one that such a call can have",
        ),
        (
            with(r#""op":"put","key":"k","value":"v","return_ns":6,"outcome":"ok","result":true"#),
            "its result is not one that such a call can have",
        ),
        (with(r#""op":"get","key":"k","return_ns":6,"outcome":"ok","result":[]"#), "its result is not one that such a call can have"),
        (
            with(r#""op":"scan","limit":0,"return_ns":6,"outcome":"ok","result":[{"key":"a","value":"b"}]"#),
            "its result is out of order, outside from and to, or longer than limit",
        ),
    ] {
        let text = format!("{good}\n\n{line}\n{good}\n");
        let error = read(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("line 3: {reason}")), "{line}: {error}");
    }
}

#[test]
fn a_line_without_end_is_refused_before_it_is_held() {
    let error = read(std::io::BufReader::new(std::io::Read::take(std::io::repeat(b' '), 2 * LINE_LEN_MAX as u64))).unwrap_err();
    assert_eq!(error.to_string(), format!("line 1: longer than {LINE_LEN_MAX} bytes"));
}

#[test]
fn an_operation_that_contradicts_itself_is_not_let_in() {
    let mut history = History::new();
    let get = || Op::new(1, Call::Get { key: b"k".into() }, 5);
    assert_eq!(history.push(get().ok(4, Answer::Value(None))), Err(OpError::ReturnBeforeCall));
    assert_eq!(history.push(get().ok(u64::MAX, Answer::Value(None))), Err(OpError::TooLate));
    assert_eq!(history.push(Op { call_ns: u64::MAX, ..get() }), Err(OpError::TooLate));
    assert_eq!(history.push(get().ok(6, Answer::Done)), Err(OpError::WrongAnswer));
    assert_eq!(history.push(Op { return_ns: None, ..get().ok(6, Answer::Value(None)) }), Err(OpError::NoReturn));
    let scan = Call::Scan { from: None, to: None, limit: None };
    let items = vec![(b"b".to_vec(), b"".to_vec()), (b"a".to_vec(), b"".to_vec())];
    assert_eq!(history.push(Op::new(1, scan, 5).ok(6, Answer::List(items))), Err(OpError::WrongScan));
    assert!(history.ops().is_empty());
}
