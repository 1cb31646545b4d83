//! Reads of many keys, and reads that may be old.

use super::*;

fn scan(stale: bool) -> Ask {
    Ask::Scan(Range { stale, ..Range::prefix("a") })
}

fn cursor(answer: Result<Answer, ClerkError>) -> Cursor {
    match answer {
        Ok(Answer::Page(Page { next: Some(cursor), .. })) => cursor,
        other => panic!("{other:?}"),
    }
}

/// A scan whose first page came from this connection.
fn begun(script: &mut Script) -> Cursor {
    let call = script.submit(scan(false));
    let seen = script.take();
    assert_eq!(seen.what, What::Scan { from: b"a".to_vec(), to: Some(b"b".to_vec()), stale: false });
    script.reply(&seen, &page("a1", false));
    cursor(script.outcome(call))
}

#[test]
fn a_scan_goes_on_where_it_began_until_the_last_page() {
    let (mut script, n1) = with_leader();
    let cursor = begun(&mut script);
    let call = script.submit(Ask::ScanNext { cursor });
    let seen = script.take();
    assert_eq!((seen.connection, &seen.what), (n1, &What::ScanNext(7)));
    script.reply(&seen, &page("a2", true));
    match script.outcome(call) {
        Ok(Answer::Page(Page { items, position, next: None, .. })) => {
            assert_eq!((items[0].key.as_slice(), position), (&b"a2"[..], Index(20)))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_first_page_that_does_not_come_is_asked_for_elsewhere() {
    let (mut script, n1) = with_leader();
    let call = script.submit(scan(false));
    script.take();
    script.end(n1);
    script.welcome("n2:1", None);
    let seen = script.take();
    script.reply(&seen, &Reply::ScanLost);
    script.welcome("n3:1", None);
    let seen = script.take();
    script.reply(&seen, &page("a1", true));
    assert!(matches!(script.outcome(call), Ok(Answer::Page(Page { next: None, .. }))));
}

#[test]
fn a_later_page_is_nobody_elses_so_that_its_loss_ends_the_scan() {
    // The node says so; the connection ends; it was gone before we asked.
    for how in 0..3 {
        let (mut script, n1) = with_leader();
        let cursor = begun(&mut script);
        if how == 2 {
            script.end(n1);
        }
        let call = script.submit(Ask::ScanNext { cursor });
        match how {
            0 => {
                let seen = script.take();
                script.reply(&seen, &Reply::ScanLost);
            }
            1 => script.end(n1),
            _ => {}
        }
        match script.outcome(call) {
            Err(ClerkError::ScanLost { endpoints }) => assert_eq!(endpoints.len(), usize::from(how < 2), "{endpoints:?}"),
            other => panic!("{other:?}"),
        }
        assert!(script.dialled().is_empty(), "nobody else is asked");
    }
}

#[test]
fn a_slow_node_is_given_all_the_time_there_is_for_the_next_page() {
    let (mut script, n1) = with_leader();
    let cursor = begun(&mut script);
    let call = script.submit(Ask::ScanNext { cursor });
    let seen = script.take();
    script.pass(4_900 * MS);
    assert!(script.dialled().is_empty() && script.open.contains_key(&n1));
    script.reply(&seen, &page("a2", true));
    assert!(script.outcome(call).is_ok());
    let late = script.submit(Ask::ScanNext { cursor });
    script.pass(5_000 * MS);
    assert!(matches!(script.outcome(late), Err(ClerkError::ScanLost { endpoints }) if endpoints[0].reason == Reason::NoReply));
}

#[test]
fn a_new_connection_to_the_same_node_has_no_scan() {
    let (mut script, n1) = with_leader();
    let cursor = begun(&mut script);
    script.end(n1);
    script.submit(get("k"));
    script.welcome("n2:1", Some(1));
    script.take();
    script.pass(20 * MS);
    script.submit(put("k"));
    let again = script.welcome("n1:1", Some(1));
    assert_eq!(script.take().connection, again, "n1 is back");
    let call = script.submit(Ask::ScanNext { cursor });
    assert!(matches!(script.outcome(call), Err(ClerkError::ScanLost { .. })));
    assert!(script.asked.is_empty());
}

#[test]
fn a_read_that_may_be_old_takes_whoever_is_connected_and_needs_no_leader() {
    let (mut script, _) = with_leader();
    let call = script.submit(Ask::GetStale { key: b"k".to_vec() });
    let seen = script.take();
    assert_eq!((seen.address.as_str(), &seen.what), ("n1:1", &What::GetStale(b"k".to_vec())));
    script.reply(&seen, &Reply::StaleValue { value: None, position: Index(9), age_ms: Some(3) });
    let answer = script.outcome(call).unwrap();
    assert_eq!(answer, Answer::StaleValue { value: None, position: Index(9), age_ms: Some(3) });

    let mut script = Script::new(&["n2:1", "n1:1"]);
    let call = script.submit(scan(true));
    script.welcome("n2:1", Some(1));
    let seen = script.take();
    assert_eq!(seen.address, "n2:1", "the leader is known, and not asked");
    script.reply(&seen, &page("a1", true));
    assert!(script.outcome(call).is_ok());
}
