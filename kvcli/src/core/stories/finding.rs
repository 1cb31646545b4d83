//! Who is asked, and when.

use super::*;

#[test]
fn nothing_is_dialled_before_the_first_call() {
    let mut script = Script::new(&["n1:1"]);
    script.pass(10_000 * MS);
    assert!(script.dialling.is_empty());
    script.submit(put("k"));
    assert_eq!(script.dialled(), ["n1:1"]);
}

#[test]
fn a_welcome_that_names_the_leader_saves_the_detour() {
    let mut script = Script::new(&["n1:1"]);
    script.submit(put("k"));
    script.welcome("n1:1", Some(3));
    assert!(script.asked.is_empty(), "n1 would only name n3");
    assert_eq!(script.dialled(), ["n3:1"]);
    script.welcome("n3:1", Some(3));
    assert_eq!(script.take().address, "n3:1");
}

#[test]
fn a_read_is_asked_of_whoever_is_connected() {
    let mut script = Script::new(&["n1:1"]);
    let call = script.submit(get("k"));
    script.welcome("n1:1", Some(3));
    let seen = script.take();
    assert_eq!((seen.address.as_str(), seen.what.clone()), ("n1:1", What::Get(b"k".to_vec())));
    script.reply(&seen, &Reply::Value { value: None, position: Index(9) });
    assert_eq!(script.outcome(call).unwrap(), Answer::Value { value: None, position: Index(9) });
}

#[test]
fn a_hint_is_followed_and_remembered() {
    let mut script = Script::new(&["n1:1"]);
    let call = script.submit(put("k"));
    script.welcome("n1:1", None);
    let seen = script.take();
    script.reply(&seen, &not_leader(Some(2)));
    script.welcome("n2:1", Some(2));
    let retry = script.take();
    assert_eq!(retry.address, "n2:1");
    assert_eq!(call_of(&retry), call_of(&seen), "the same call, whoever is asked");
    script.reply(&retry, &written(12));
    script.outcome(call).unwrap();
    script.submit(put("next"));
    assert_eq!(script.take().address, "n2:1");
}

#[test]
fn an_endpoint_that_refuses_is_skipped_at_once_and_one_that_is_silent_soon() {
    let mut script = Script::new(&["n1:1", "n2:1", "n3:1"]);
    let call = script.submit(put("k"));
    script.refuse("n1:1");
    assert_eq!(script.dialled(), ["n2:1"]);
    script.pass(299 * MS);
    assert_eq!(script.dialled(), ["n2:1"]);
    script.pass(MS);
    assert_eq!(script.dialled(), ["n3:1"]);
    script.accept("n3:1"); // and then it says nothing: a stopped process accepts too
    script.pass(300 * MS);
    assert_eq!(script.core.tried(call).last().unwrap().reason, Reason::NoGreeting);
    script.pass(10 * MS);
    assert_eq!(script.dialled(), ["n1:1"], "the next sweep begins with the one that at least refused");
}

#[test]
fn a_put_begun_before_the_nodes_are_up_succeeds() {
    let mut script = Script::new(&["n1:1", "n2:1"]);
    let call = script.submit(put("k"));
    let mut dials = 0;
    while script.now_us < 1_000 * MS {
        for address in ["n1:1", "n2:1"] {
            if script.dialled() == [address] {
                script.refuse(address);
                dials += 1;
            }
        }
        script.pass(MS);
    }
    assert!((40..200).contains(&dials), "patient, but no hammer: {dials} dials in a second");
    while script.dialling.is_empty() {
        script.pass(MS);
    }
    let address = script.dialled()[0].to_string();
    script.welcome(&address, None);
    let seen = script.take();
    script.reply(&seen, &written(11));
    script.outcome(call).unwrap();
}

#[test]
fn a_silent_leader_is_left_after_half_a_second_under_the_same_number() {
    let (mut script, _) = with_leader();
    let call = script.submit(put("k"));
    let seen = script.take();
    script.pass(499 * MS);
    assert!(script.dialling.is_empty());
    script.pass(MS);
    script.welcome("n2:1", Some(3));
    script.welcome("n3:1", Some(3));
    let retry = script.take();
    assert_eq!((retry.address.as_str(), call_of(&retry)), ("n3:1", call_of(&seen)));
    script.reply(&retry, &written(13));
    assert!(matches!(script.outcome(call), Ok(Answer::Written(written)) if written.position == Index(13)));
    script.reply(&seen, &written(13)); // the old leader wakes up
    assert!(script.finished.is_empty());
}

#[test]
fn a_silent_leader_is_not_asked_again_while_others_answer() {
    let (mut script, n1) = with_leader();
    script.submit(put("k"));
    script.take();
    script.pass(500 * MS);
    script.welcome("n2:1", None);
    let seen = script.take();
    script.reply(&seen, &not_leader(Some(1))); // n2 has not noticed yet
    script.welcome("n3:1", None);
    let seen = script.take();
    script.reply(&seen, &not_leader(Some(1)));
    assert!(script.dialling.is_empty() && script.asked.is_empty(), "a pause, not n1");
    assert!(script.open.contains_key(&n1), "its late answer would still count");
    script.pass(9 * MS);
    assert_eq!(script.take().address, "n2:1");
}

#[test]
fn a_dead_connection_is_replaced_in_the_end() {
    let mut script = Script::new(&["n1:1"]);
    let call = script.submit(put("k"));
    let old = script.welcome("n1:1", Some(1));
    let seen = script.take();
    // n2 and n3 refuse. n1's machine was restarted: it knows nothing of the old connection and will never speak on it.
    while script.dialled() != ["n1:1"] {
        for address in ["n2:1", "n3:1"] {
            if script.dialled() == [address] {
                script.refuse(address);
            }
        }
        script.pass(MS);
        assert!(script.now_us < 2_000 * MS, "n1 is dialled again within two seconds");
    }
    assert!(!script.open.contains_key(&old));
    script.welcome("n1:1", Some(1));
    let retry = script.take();
    assert_eq!(call_of(&retry), call_of(&seen));
    script.reply(&retry, &written(12));
    script.outcome(call).unwrap();
}

#[test]
fn a_busy_leader_is_asked_again_after_a_pause() {
    let (mut script, _) = with_leader();
    let call = script.submit(put("k"));
    let seen = script.take();
    script.reply(&seen, &Reply::Busy { reason: BusyReason::Waiting });
    assert!(script.asked.is_empty() && script.dialling.is_empty());
    script.pass(10 * MS);
    let retry = script.take();
    assert_eq!((retry.address.as_str(), call_of(&retry)), ("n1:1", call_of(&seen)));
    script.reply(&retry, &written(12));
    script.outcome(call).unwrap();
}

#[test]
fn one_stranger_among_the_endpoints_does_not_matter() {
    let mut script = Script::new(&["n9:1", "n1:1"]);
    let call = script.submit(put("k"));
    refuse_with(&mut script, "n9:1", RefusedReason::WrongCluster);
    script.welcome("n1:1", Some(1));
    let seen = script.take();
    script.reply(&seen, &written(12));
    script.outcome(call).unwrap();
}

#[test]
fn two_clusters_among_the_endpoints_the_first_to_answer_decides() {
    let mut script = Script::new(&["n1:1", "n2:1"]);
    let asks = ["n1:1", "n2:1"].map(|address| Ask::Status { address: address.into() });
    let [first, second] = asks.map(|ask| script.submit(ask));
    let (n1, n2) = (script.accept("n1:1"), script.accept("n2:1"));
    script.greet(n1, None, 10);
    let seen = script.take();
    script.reply(&seen, &status_at(10));
    script.outcome(first).unwrap();
    let other = wire::Welcome {
        cluster_id: ClusterId(9),
        node: raft::NodeId(2),
        applied_index: Index(1),
        leader: None,
        members: Vec::new(),
        version: String::new(),
    };
    let mut bytes = Vec::new();
    wire::encode_welcome(&other, &mut bytes);
    script.bytes(n2, &bytes);
    assert!(matches!(script.outcome(second), Err(ClerkError::Refused { .. })));
}

#[test]
fn a_status_is_asked_of_one_node_once() {
    let mut script = Script::new(&["n1:1", "n2:1"]);
    let silent = script.submit(Ask::Status { address: "n1:1".into() });
    let refusing = script.submit(Ask::Status { address: "n2:1".into() });
    script.refuse("n2:1");
    assert!(matches!(script.outcome(refusing), Err(ClerkError::NotDone { endpoints }) if endpoints.len() == 1));
    script.welcome("n1:1", Some(1));
    script.take();
    script.pass(500 * MS);
    assert!(matches!(script.outcome(silent), Err(ClerkError::NotDone { endpoints }) if endpoints[0].reason == Reason::NoReply));
}

#[test]
fn a_node_that_speaks_something_else_is_left() {
    let mut script = Script::new(&["n1:1", "n2:1"]);
    script.submit(put("k"));
    let n1 = script.accept("n1:1");
    script.bytes(n1, b"HTTP/1.1 400 Bad Request\r\n\r\n");
    assert_eq!((script.closed_count, script.dialled()), (1, vec!["n2:1"]));
    let n2 = script.welcome("n2:1", Some(2));
    script.take();
    script.bytes(n2, &[0xff; 64]);
    assert_eq!(script.closed_count, 2);
}

#[test]
fn a_known_node_is_not_dialled_again_under_its_own_name_for_itself() {
    let mut script = Script::new(&["localhost:7117"]);
    let call = script.submit(put("k"));
    let connection = script.accept("localhost:7117");
    script.open.insert(connection, "n1:1".into()); // which is who answers there
    script.greet(connection, Some(1), 10);
    let seen = script.take();
    assert_eq!(seen.connection, connection);
    script.reply(&seen, &not_leader(Some(1)));
    assert!(!script.dialled().contains(&"n1:1"), "the same node");
    script.core.give_up(script.now_us, call);
}

/// What is under way on a slow link.
enum Travels {
    Dial(ConnectionId, String),
    Hello(ConnectionId),
    Question(Seen),
}

/// Lets time pass until the call is over; whatever a node is sent has its answer a round trip later. n1 leads. How long it took.
fn answer_after(script: &mut Script, round_trip_us: u64, call: CallNumber) -> u64 {
    let begun_us = script.now_us;
    let mut travelling: Vec<(u64, Travels)> = Vec::new();
    while !script.finished.contains_key(&call) {
        let at_us = script.now_us + round_trip_us;
        for (connection, address) in &script.dialling {
            if !travelling.iter().any(|(_, sent)| matches!(sent, Travels::Dial(known, _) if known == connection)) {
                travelling.push((at_us, Travels::Dial(*connection, address.clone())));
            }
        }
        travelling.extend(script.asked.drain(..).map(|seen| (at_us, Travels::Question(seen))));
        script.pass(MS);
        let (arrived, rest): (Vec<_>, Vec<_>) = travelling.into_iter().partition(|(at_us, _)| *at_us <= script.now_us);
        travelling = rest;
        for (_, sent) in arrived {
            match sent {
                Travels::Dial(connection, address) if script.dialling.contains(&(connection, address.clone())) => {
                    script.accept(&address);
                    travelling.push((script.now_us + round_trip_us, Travels::Hello(connection)));
                }
                Travels::Hello(connection) if script.open.contains_key(&connection) => script.greet(connection, Some(1), 10),
                Travels::Question(seen) if script.open.contains_key(&seen.connection) => {
                    let reply = if seen.address == "n1:1" { written(12) } else { not_leader(Some(1)) };
                    script.reply(&seen, &reply);
                }
                _ => {} // its connection was given up meanwhile
            }
        }
    }
    script.now_us - begun_us
}

#[test]
fn a_client_behind_a_round_trip_of_two_seconds_gets_its_answers() {
    for endpoints in [&["n1:1"][..], &["n1:1", "n2:1", "n3:1"]] {
        let mut script = Script::new(endpoints);
        let call = script.submit_for(put("k"), 20_000 * MS);
        answer_after(&mut script, 2_000 * MS, call);
        script.outcome(call).unwrap();
        // The connection has been kept: another question costs what it must.
        let call = script.submit(put("k"));
        assert_eq!(answer_after(&mut script, 2_000 * MS, call), 2_000 * MS);
        script.outcome(call).unwrap();
    }
}

#[test]
fn a_client_behind_a_round_trip_of_four_hundred_milliseconds_needs_no_long_timeout() {
    let mut script = Script::new(&["n1:1", "n2:1", "n3:1"]);
    let call = script.submit(put("k"));
    answer_after(&mut script, 400 * MS, call);
    script.outcome(call).unwrap();
}

#[test]
fn a_request_that_takes_ten_seconds_to_send_is_answered() {
    let (mut script, _) = with_leader();
    let call = script.submit_for(put("k"), 60_000 * MS);
    let mut copies = BTreeMap::new();
    while !script.finished.contains_key(&call) {
        for address in ["n1:1", "n2:1", "n3:1"] {
            if script.dialled().contains(&address) {
                script.welcome(address, None);
            }
        }
        let now_us = script.now_us;
        copies.extend(script.asked.drain(..).map(|seen| (seen.id, (now_us, seen))));
        script.pass(MS);
        copies.retain(|_, (_, seen)| script.open.contains_key(&seen.connection));
        // It has one connection to each, and any would do.
        if let Some((_, seen)) = copies.values().find(|(sent_us, _)| sent_us + 10_000 * MS <= script.now_us) {
            let seen = seen.clone();
            script.reply(&seen, &written(12));
        }
    }
    script.outcome(call).unwrap();
}

#[test]
fn a_dead_endpoint_costs_a_call_no_more_the_tenth_time_than_the_first() {
    let mut script = Script::new(&["n1:1", "n2:1", "n3:1"]);
    let call = script.submit_for(put("k"), 60_000 * MS);
    let (mut asked_us, mut longest_us, mut dials) = (0, 0, BTreeSet::new());
    while script.now_us < 30_000 * MS {
        dials.extend(script.dialling.iter().filter(|(_, address)| address == "n1:1").map(|(connection, _)| *connection));
        for address in ["n2:1", "n3:1"] {
            if script.dialled().contains(&address) {
                script.welcome(address, None);
            }
        }
        while let Some(seen) = script.asked.pop() {
            longest_us = longest_us.max(script.now_us - asked_us);
            asked_us = script.now_us;
            script.reply(&seen, &not_leader(None)); // an election that does not come to an end
        }
        script.pass(MS);
    }
    assert!(dials.len() >= 10, "it may be back: {} dials", dials.len());
    assert!((300 * MS..=360 * MS).contains(&longest_us), "{longest_us} us without a question to those that live");
    script.core.give_up(script.now_us, call);
}

#[test]
fn a_link_that_is_fast_again_is_not_waited_for_longer_than_others() {
    let mut script = Script::new(&["n1:1"]);
    let call = script.submit_for(put("k"), 60_000 * MS);
    script.pass(5_000 * MS);
    let n1 = script.welcome("n1:1", Some(1));
    script.pass(50 * MS); // it was left behind, and is found again with the next sweep
    let seen = script.take();
    script.reply(&seen, &written(11));
    script.outcome(call).unwrap();
    script.end(n1);
    script.pass(10 * MS);
    script.submit(Ask::Status { address: "n1:1".into() });
    script.pass(299 * MS);
    assert_eq!(script.dialled(), ["n1:1"]);
    script.pass(MS);
    assert!(script.dialled().is_empty());
}
