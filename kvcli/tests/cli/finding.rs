//! Endpoints that do not help, and the one that does.

use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use crate::fake::{Fake, Manner};
use crate::program::{command, run, run_at};

/// Nobody listens there: it was free a moment ago.
fn free_address() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_first_endpoint_that_does_not_help_does_not_matter() {
    let leader = Fake::new(Manner::Serves);
    let silent = Fake::new(Manner::Silent);
    let follower = Fake::new(Manner::Follows(Some(leader.address.clone())));
    let lost = Fake::new(Manner::Follows(None));
    let garbage = Fake::new(Manner::Garbage);
    let refusing = free_address().to_string();
    for first in ["no-such-host.invalid", &refusing, &silent.address, &follower.address, &lost.address, &garbage.address] {
        run(["--endpoints", &format!("{first},{}", leader.address), "put", first, "v"]).expect(0);
        assert_eq!(leader.value(first.as_bytes()), Some(b"v".to_vec()), "{first}");
    }
}

#[test]
fn one_endpoint_is_enough_to_find_the_leader() {
    let [leader, follower, _] = Fake::cluster([Manner::Serves, Manner::Follows(None), Manner::Silent]);
    follower.behave(Manner::Follows(Some(leader.address.clone())));
    run_at(&[&follower], ["put", "k", "v"]).expect(0);
    assert_eq!(leader.value(b"k"), Some(b"v".to_vec()));
    assert!(follower.asked().is_empty(), "its greeting named the leader");
}

#[test]
fn a_put_begun_before_the_node_is_up_succeeds() {
    let address = free_address();
    let put = command().args(["--endpoints", &address.to_string(), "put", "k", "v"]).spawn().unwrap();
    // sleeps because a put that is well under way is the situation, not something to wait for
    thread::sleep(Duration::from_millis(300));
    let node = Fake::at(address, Manner::Serves);
    let output = put.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(node.value(b"k"), Some(b"v".to_vec()));
}

#[test]
fn one_put_is_one_request() {
    let node = Fake::new(Manner::Serves);
    run_at(&[&node], ["put", "k", "v"]).expect(0);
    assert_eq!(node.asked().len(), 1, "{:?}", node.asked());
}

#[test]
fn ipv6_endpoints_work() {
    let Ok(address) = TcpListener::bind("[::1]:0").and_then(|listener| listener.local_addr()) else { return }; // no IPv6 here
    let node = Fake::at(address, Manner::Serves);
    run(["--endpoints", &address.to_string(), "put", "k", "v"]).expect(0);
    assert_eq!(node.value(b"k"), Some(b"v".to_vec()));
}

#[test]
fn a_name_works_too() {
    let node = Fake::new(Manner::Serves);
    let port = node.address.rsplit(':').next().unwrap();
    run(["--endpoints", &format!("localhost:{port}"), "put", "k", "v"]).expect(0);
}
