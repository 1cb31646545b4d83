//! Numbers, windows, tokens.

use super::*;

#[test]
fn a_write_is_the_first_of_a_session_born_where_the_first_node_was() {
    let mut script = Script::new(&["n1:1"]);
    let call = script.submit(put("k"));
    script.welcome("n1:1", Some(1));
    let seen = script.take();
    let id = call_of(&seen);
    assert_eq!((id.session, id.birth_index, id.seq, id.first_unanswered), (SESSION, Index(10), 1, 1));
    script.reply(&seen, &written(11));
    assert!(matches!(script.outcome(call), Ok(Answer::Written(written)) if written.position == Index(11)));
    assert!(script.asked.is_empty(), "one put is one request");
}

#[test]
fn a_session_forgotten_before_it_was_used_is_drawn_again_silently() {
    let mut script = Script::new(&["n1:1"]);
    let call = script.submit(put("k"));
    script.welcome("n1:1", Some(1));
    let seen = script.take();
    script.reply(&seen, &Reply::SessionExpired);
    let news = script.take();
    assert_eq!(news.what, What::Status);
    script.reply(&news, &status_at(500));
    script.pass(10 * MS);
    let retry = script.take();
    let id = call_of(&retry);
    assert_eq!((id.session, id.birth_index, id.seq), (SessionId(SESSION.0 + 1), Index(500), 1));
    script.reply(&retry, &written(501));
    script.outcome(call).unwrap();
}

#[test]
fn a_session_forgotten_after_an_ambiguous_attempt_leaves_the_write_unknown_for_ever() {
    let (mut script, n1) = with_leader();
    let call = script.submit(put("k"));
    script.take();
    script.end(n1);
    script.welcome("n2:1", Some(2));
    let retry = script.take();
    script.reply(&retry, &Reply::SessionExpired);
    assert!(matches!(script.outcome(call), Err(ClerkError::Unknown { resume: None, .. })));
    assert!(script.asked.is_empty());
}

#[test]
fn a_thousand_writes_that_wait_for_room_are_sent_in_their_order_and_all_answered() {
    let (mut script, _) = with_leader();
    let calls: Vec<CallNumber> = (0..1000).map(|i| script.submit(put(&i.to_string()))).collect();
    let mut last_seq = 1; // of the write that found the leader
    while !script.asked.is_empty() {
        let seen = script.asked.remove(0);
        assert_eq!(call_of(&seen).seq, last_seq + 1);
        last_seq += 1;
        script.reply(&seen, &written(100 + last_seq));
    }
    for call in calls {
        script.outcome(call).unwrap();
    }
}

#[test]
fn a_write_woken_for_room_it_never_took_leaves_it_to_the_next() {
    let (mut script, n1) = with_leader();
    let first = script.submit_for(put("first"), 50 * MS);
    for i in 0..63 {
        script.submit(put(&i.to_string()));
    }
    let woken: Vec<CallNumber> = (0..64).map(|i| script.submit_for(put(&format!("woken {i}")), 100 * MS)).collect();
    script.submit(put("last"));
    script.asked.clear();
    // The leader is gone, and nobody else answers yet. The first write times out, and its number wakes as many as a window has.
    script.end(n1);
    script.pass(50 * MS);
    assert!(matches!(script.outcome(first), Err(ClerkError::Unknown { .. })));
    script.pass(50 * MS);
    for call in woken {
        assert!(matches!(script.outcome(call), Err(ClerkError::NotDone { .. })));
    }
    script.welcome("n2:1", Some(2));
    let is_last = |seen: &Seen| matches!(&seen.what, What::Write { key, .. } if key == b"last");
    assert!(script.asked.iter().any(is_last), "it sleeps behind those that have given up");
}

#[test]
fn sixty_four_writes_of_a_session_are_in_flight_and_the_next_waits_for_the_oldest() {
    let (mut script, _) = with_leader();
    let calls: Vec<CallNumber> = (0..66).map(|i| script.submit(put(&i.to_string()))).collect();
    let seen = std::mem::take(&mut script.asked);
    let seqs: Vec<u64> = seen.iter().map(|seen| call_of(seen).seq).collect();
    assert_eq!(seqs, (2..66).collect::<Vec<_>>());
    script.reply(&seen[63], &written(100));
    script.outcome(calls[63]).unwrap();
    assert!(script.asked.is_empty(), "the oldest is still out");
    script.reply(&seen[0], &written(101));
    let next = script.take();
    assert_eq!((call_of(&next).seq, call_of(&next).first_unanswered), (66, 3));
    script.outcome(calls[0]).unwrap();
    assert!(script.finished.is_empty());
}

#[test]
fn a_call_left_unknown_ends_its_session_and_keeps_its_reply_from_being_forgotten() {
    let (mut script, _) = with_leader();
    let short = script.submit_for(put("a"), 100 * MS);
    let long = script.submit(put("b"));
    let seen = std::mem::take(&mut script.asked);
    script.pass(100 * MS);
    assert!(matches!(script.outcome(short), Err(ClerkError::Unknown { resume: Some(_), .. })));
    script.submit(put("c"));
    let third = script.take();
    assert_eq!((call_of(&third).session, call_of(&third).seq), (SessionId(SESSION.0 + 1), 1));
    script.reply(&seen[1], &not_leader(None));
    script.welcome("n2:1", Some(2));
    let retry = script.asked.iter().find(|seen| call_of(seen).session == SESSION).cloned().expect("b again");
    assert_eq!((call_of(&retry).seq, call_of(&retry).first_unanswered), (3, 2), "a's reply is kept");
    script.reply(&retry, &written(20));
    script.outcome(long).unwrap();
}

#[test]
fn a_token_settles_the_write_from_another_process() {
    let (mut script, n1) = with_leader();
    let call = script.submit_for(put("k"), 100 * MS);
    let seen = script.take();
    script.end(n1);
    script.pass(100 * MS);
    let Err(ClerkError::Unknown { resume: Some(token), .. }) = script.outcome(call) else { panic!("unknown") };

    let mut other = Script::new(&["n2:1"]);
    let call = other.resume(put("k"), *token);
    other.welcome("n2:1", Some(2));
    assert_eq!(other.hellos, [Some(CLUSTER)], "only its own cluster may answer");
    let again = other.take();
    let (first, second) = (call_of(&seen), call_of(&again));
    assert_eq!((first.session, first.birth_index, first.seq), (second.session, second.birth_index, second.seq));
    assert_eq!(second.first_unanswered, 1);
    other.reply(&again, &written(12));
    other.outcome(call).unwrap();
}

#[test]
fn a_resumed_write_is_never_not_done() {
    for token in [Purpose::Write, Purpose::Load].map(|purpose| token_of(CLUSTER, purpose)) {
        let mut script = Script::new(&["n1:1"]);
        let call = script.resume(put("k"), token);
        script.pass(5_000 * MS);
        assert!(matches!(script.outcome(call), Err(ClerkError::Unknown { resume: Some(again), .. }) if *again == token));

        for (reply, resume) in [(Reply::SessionExpired, None), (Reply::Rejected { reason: RejectedReason::Sequence }, None)] {
            let mut script = Script::new(&["n1:1"]);
            let call = script.resume(put("k"), token);
            script.welcome("n1:1", Some(1));
            let seen = script.take();
            script.reply(&seen, &reply);
            match script.outcome(call) {
                Err(ClerkError::Unknown { resume: found, .. }) => assert_eq!(found, resume, "{reply:?}"),
                other => panic!("{reply:?}: {other:?}"),
            }
        }
    }
}

fn token_of(cluster_id: ClusterId, purpose: Purpose) -> Token {
    let op_digest = Token::digest_of(&put("k")).expect("a write");
    Token { purpose, cluster_id, session: SESSION, birth_index: Index(3), seq: 7, op_digest }
}

#[test]
fn the_token_of_a_load_stands_for_all_its_writes_and_its_first_write_is_behind_them() {
    let (mut script, n1) = with_leader();
    script.core.hold_session();
    let short = script.submit_for(put("a"), 100 * MS);
    let long = script.submit_for(put("b"), 200 * MS);
    script.pass(100 * MS);
    assert!(matches!(script.outcome(short), Err(ClerkError::Unknown { .. })));
    let third = script.submit_for(put("c"), 50 * MS);
    let seqs: Vec<(SessionId, u64)> = script.asked.iter().map(|seen| (call_of(seen).session, call_of(seen).seq)).collect();
    assert_eq!(seqs, [(SESSION, 2), (SESSION, 3), (SESSION, 4)], "one session");
    script.end(n1);
    script.pass(100 * MS);
    script.outcome(long).unwrap_err();
    script.outcome(third).unwrap_err();
    let token = script.core.leave_session(Token::digest_of(&put("a")).expect("a write")).expect("three writes are unknown");
    assert_eq!(token.purpose, Purpose::Load);

    for _ in 0..2 {
        let mut other = Script::new(&["n2:1"]);
        let call = other.resume(put("a"), token);
        other.welcome("n2:1", Some(2));
        let first = other.take();
        let id = call_of(&first);
        assert_eq!((id.session, id.birth_index, id.seq, id.first_unanswered), (SESSION, Index(10), 5, 5), "all before are answered");
        // Left unknown, it is tried again under the same number.
        other.pass(5_000 * MS);
        assert!(matches!(other.outcome(call), Err(ClerkError::Unknown { resume: Some(again), .. }) if *again == token));
    }
}

#[test]
fn a_session_held_without_an_unknown_write_has_no_token_and_goes_on() {
    let (mut script, _) = with_leader();
    script.core.hold_session();
    let call = script.submit(put("a"));
    let seen = script.take();
    script.reply(&seen, &written(12));
    script.outcome(call).unwrap();
    assert_eq!(script.core.leave_session(7), None);
    script.submit(put("b"));
    assert_eq!((call_of(&script.take()).session, script.core.calls_in_flight()), (SESSION, 1));
}

#[test]
fn a_token_of_another_cluster_stays_good() {
    let token = token_of(ClusterId(9), Purpose::Write);
    let mut script = Script::new(&["n1:1"]);
    let call = script.resume(put("k"), token);
    refuse_with(&mut script, "n1:1", RefusedReason::WrongCluster);
    assert!(matches!(script.outcome(call), Err(ClerkError::Refused { resume: Some(kept), .. }) if *kept == token));

    let (mut script, _) = with_leader();
    let call = script.resume(put("k"), token);
    assert!(matches!(script.outcome(call), Err(ClerkError::Refused { resume: Some(kept), .. }) if *kept == token));
}
