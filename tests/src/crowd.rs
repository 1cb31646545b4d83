//! Many connections to one node.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use wire::{Reply, Request};

use crate::Cluster;
use crate::process::memory_kib;
use crate::raw::Raw;

/// Clients that have greeted a node, and say nothing unless they are told to.
pub struct Crowd {
    clients: Vec<Raw>,
    /// What the node's resident memory grew by when they came.
    pub grown_kib: u64,
}

impl Crowd {
    /// So many at this node.
    pub fn at(cluster: &Cluster, node: usize, count: usize) -> Crowd {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
        assert!(hard > count as u64 + 300, "a limit of {hard} open files leaves no room for {count} connections (ulimit -Hn)");
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("what is allowed");
        cluster.kvcli(["put", "crowd", "v"]).expect_code(0);
        let resident = || memory_kib(cluster.pid(node), "VmRSS:");
        let before = resident();
        let clients = (0..count).map(|_| Raw::client(&cluster.nodes[node].client_addr).0).collect();
        Crowd { clients, grown_kib: resident().saturating_sub(before) }
    }

    /// Every one of them reads, all at once, and is answered.
    pub fn expect_answers(&mut self) {
        for (id, raw) in (0..).zip(&mut self.clients) {
            raw.request(id, &Request::Get { key: b"crowd" });
        }
        for (id, raw) in (0..).zip(&mut self.clients) {
            match raw.reply() {
                (of, Reply::Value { value: Some(value), .. }) if of == id => assert_eq!(value.value, b"v"),
                other => panic!("connection {id}: {other:?}"),
            }
        }
    }
}
