//! What a call is told in the end.

use super::*;

#[test]
fn nobody_reached_is_not_done_and_every_endpoint_is_named() {
    let mut script = Script::new(&["n1:1", "n2:1"]);
    let call = script.submit_for(put("k"), 1_000 * MS);
    while !script.finished.contains_key(&call) {
        if script.dialled() == ["n1:1"] {
            script.refuse("n1:1");
        }
        script.pass(MS);
    }
    assert_eq!(script.now_us, 1_000 * MS);
    match script.outcome(call) {
        Err(ClerkError::NotDone { endpoints }) => {
            let said: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
            assert_eq!(said, ["n1:1: connection refused", "n2:1: no connection in time"]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_late_answer_of_a_silent_leader_counts() {
    let (mut script, _) = with_leader();
    let call = script.submit(put("k"));
    let seen = script.take();
    script.pass(500 * MS);
    script.accept("n2:1");
    script.reply(&seen, &written(12));
    assert!(matches!(script.outcome(call), Ok(Answer::Written(written)) if written.position == Index(12)));
}

#[test]
fn a_lost_connection_is_retried_under_the_same_number_and_left_unknown_at_the_end() {
    let (mut script, n1) = with_leader();
    let call = script.submit_for(put("k"), 1_000 * MS);
    let seen = script.take();
    script.end(n1);
    script.welcome("n2:1", None);
    let retry = script.take();
    assert_eq!(call_of(&retry), call_of(&seen));
    script.reply(&retry, &not_leader(None));
    script.pass(1_000 * MS);
    match script.outcome(call) {
        Err(ClerkError::Unknown { resume: Some(token), endpoints }) => {
            assert_eq!((token.cluster_id, token.session, token.seq), (CLUSTER, SESSION, 2));
            assert!(token.is_of(&put("k")) && !token.is_of(&put("other")));
            assert_eq!(endpoints[0].to_string(), "n1:1: connection lost: reset");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_definite_no_leaves_a_write_not_done() {
    for no in
        [not_leader(None), Reply::Busy { reason: BusyReason::Uncommitted }, Reply::Forming { missing: vec!["n3".into()] }, Reply::Replaced]
    {
        let mut script = Script::new(&["n1:1"]);
        let call = script.submit_for(put("k"), 400 * MS);
        script.welcome("n1:1", Some(1));
        while !script.finished.contains_key(&call) {
            if !script.asked.is_empty() {
                let seen = script.take();
                script.reply(&seen, &no);
            }
            for address in ["n2:1", "n3:1"] {
                if script.dialled() == [address] {
                    script.refuse(address);
                }
            }
            script.pass(MS);
        }
        assert!(matches!(script.outcome(call), Err(ClerkError::NotDone { .. })), "{no:?}");
    }
}

#[test]
fn lost_leadership_may_have_let_a_write_through() {
    let (mut script, _) = with_leader();
    let call = script.submit_for(put("k"), 50 * MS);
    let seen = script.take();
    script.reply(&seen, &Reply::LeadershipLost);
    script.pass(50 * MS);
    assert!(matches!(script.outcome(call), Err(ClerkError::Unknown { resume: Some(_), .. })));
}

#[test]
fn an_attempt_that_is_still_out_may_take_effect_though_a_later_one_did_not() {
    let (mut script, _) = with_leader();
    let call = script.submit_for(put("k"), 600 * MS);
    let first = script.take();
    script.pass(500 * MS);
    script.welcome("n2:1", None);
    let second = script.take();
    script.reply(&second, &not_leader(None));
    let (mut answered, mut silent) = (script, call);
    answered.reply(&first, &not_leader(None));
    answered.pass(100 * MS);
    assert!(matches!(answered.outcome(silent), Err(ClerkError::NotDone { .. })), "the silent one said no in time");

    let (mut script, _) = with_leader();
    silent = script.submit_for(put("k"), 600 * MS);
    script.take();
    script.pass(500 * MS);
    script.welcome("n2:1", None);
    let second = script.take();
    script.reply(&second, &not_leader(None));
    script.pass(100 * MS);
    assert!(matches!(script.outcome(silent), Err(ClerkError::Unknown { .. })), "it never did");
}

#[test]
fn a_read_is_never_unknown() {
    let (mut script, n1) = with_leader();
    let call = script.submit_for(get("k"), 700 * MS);
    script.take();
    script.pass(600 * MS);
    script.end(n1);
    script.pass(100 * MS);
    assert!(matches!(script.outcome(call), Err(ClerkError::NotDone { .. })));
}

#[test]
fn a_full_cluster_says_so_at_once() {
    for (reason, words) in [(BusyReason::Full, "--max-data-bytes"), (BusyReason::NoSpace, "disk of this node is full")] {
        let (mut script, _) = with_leader();
        let call = script.submit(put("k"));
        let seen = script.take();
        script.reply(&seen, &Reply::Busy { reason });
        assert!(matches!(script.outcome(call), Err(ClerkError::NotDone { endpoints }) if endpoints[0].to_string().contains(words)));
    }
}

#[test]
fn rejected_is_final_unless_an_earlier_attempt_may_have_passed() {
    let (mut script, _) = with_leader();
    let call = script.submit(put("k"));
    let seen = script.take();
    script.reply(&seen, &Reply::Rejected { reason: RejectedReason::Version });
    assert!(matches!(script.outcome(call), Err(ClerkError::Rejected { reason: RejectedReason::Version })));

    let (mut script, n1) = with_leader();
    let call = script.submit(put("k"));
    script.take();
    script.end(n1);
    script.welcome("n2:1", Some(2));
    let retry = script.take();
    script.reply(&retry, &Reply::Rejected { reason: RejectedReason::Version });
    assert!(matches!(script.outcome(call), Err(ClerkError::Unknown { resume: Some(_), .. })));
}

#[test]
fn an_append_that_would_grow_too_long_is_rejected() {
    let (mut script, _) = with_leader();
    let call = script.submit(Ask::Append { key: b"k".to_vec(), value: b"v".to_vec() });
    let seen = script.take();
    let too_long = Written { outcome: WriteOutcome::ValueTooLong, version: 1, position: Index(12) };
    script.reply(&seen, &Reply::Written(too_long));
    assert!(matches!(script.outcome(call), Err(ClerkError::Rejected { reason: RejectedReason::ValueTooLong })));
}

#[test]
fn what_no_node_would_take_is_never_sent() {
    let mut script = Script::new(&["n1:1"]);
    let big = |len| Ask::Put { key: b"k".to_vec(), value: vec![0; len] };
    let long = |len| Ask::Get { key: vec![0; len] };
    let cases = [
        (put(""), RejectedReason::KeyEmpty),
        (get(""), RejectedReason::KeyEmpty),
        (long(wire::limits::KEY_LEN_MAX + 1), RejectedReason::KeyTooLong),
        (big(wire::limits::VALUE_LEN_MAX + 1), RejectedReason::ValueTooLong),
    ];
    for (ask, expected) in cases {
        let call = script.submit(ask);
        assert!(matches!(script.outcome(call), Err(ClerkError::Rejected { reason }) if reason == expected), "{expected:?}");
    }
    assert!(script.dialling.is_empty());
    script.submit(long(wire::limits::KEY_LEN_MAX));
    script.submit(big(wire::limits::VALUE_LEN_MAX));
    assert_eq!(script.dialled(), ["n1:1"]);
}

#[test]
fn another_cluster_refuses_at_once() {
    let mut script = Script::new(&["n1:1"]);
    let call = script.submit(put("k"));
    refuse_with(&mut script, "n1:1", RefusedReason::WrongCluster);
    match script.outcome(call) {
        Err(ClerkError::Refused { message, resume: None, .. }) => assert_eq!(message, "this is cluster 9"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_of_another_version_rejects_and_one_without_room_is_tried_again() {
    let mut script = Script::new(&["n1:1"]);
    let call = script.submit(put("k"));
    refuse_with(&mut script, "n1:1", RefusedReason::WrongVersion);
    assert!(matches!(script.outcome(call), Err(ClerkError::Rejected { reason: RejectedReason::Version })));

    let mut script = Script::new(&["n1:1"]);
    script.submit(put("k"));
    refuse_with(&mut script, "n1:1", RefusedReason::TooManyConnections);
    script.pass(100 * MS);
    assert_eq!(script.dialled(), ["n1:1"]);
}

#[test]
fn an_answer_to_another_question_proves_nothing() {
    let (mut script, _) = with_leader();
    let call = script.submit_for(put("k"), 100 * MS);
    let seen = script.take();
    script.reply(&seen, &Reply::Value { value: None, position: Index(9) });
    assert_eq!(script.closed_count, 1);
    script.pass(100 * MS);
    assert!(matches!(script.outcome(call), Err(ClerkError::Unknown { .. })));
}

#[test]
fn replies_come_in_any_order_once_twice_and_in_pieces() {
    let (mut script, _) = with_leader();
    let calls = [script.submit(put("a")), script.submit(get("b"))];
    let seen = std::mem::take(&mut script.asked);
    let mut bytes = Vec::new();
    wire::encode_reply(seen[1].id, &Reply::Value { value: None, position: Index(11) }, &mut bytes);
    wire::encode_reply(seen[0].id, &written(12), &mut bytes);
    wire::encode_reply(seen[0].id, &written(12), &mut bytes);
    wire::encode_reply(999, &written(99), &mut bytes);
    for byte in bytes {
        script.bytes(seen[0].connection, &[byte]);
    }
    for call in calls {
        script.outcome(call).unwrap();
    }
    assert!(script.finished.is_empty());
}

#[test]
fn giving_up_says_what_is_known_by_then() {
    let (mut script, _) = with_leader();
    let call = script.submit(put("k"));
    script.core.give_up(script.now_us, call);
    script.pump();
    assert!(matches!(script.outcome(call), Err(ClerkError::Unknown { resume: Some(_), .. })));
    script.core.give_up(script.now_us, call);
    script.pump();
    assert!(script.finished.is_empty(), "it is over already");

    let mut script = Script::new(&["n1:1"]);
    let call = script.submit(put("k"));
    script.core.give_up(script.now_us, call);
    script.pump();
    assert!(matches!(script.outcome(call), Err(ClerkError::NotDone { .. })));
}
