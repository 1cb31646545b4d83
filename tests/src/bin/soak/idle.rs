//! Connections that say nothing for long are still answered.

use std::time::Duration;

use tests::crowd::Crowd;
use tests::wait::let_pass;

const CONNECTIONS: usize = 4_000;

/// Whether all was well, after so many seconds.
pub(crate) fn run(seconds: u64) -> bool {
    let cluster = crate::cluster();
    let leader = cluster.leader();
    let mut crowd = Crowd::at(&cluster, leader, CONNECTIONS);
    let_pass(Duration::from_secs(seconds));
    crowd.expect_answers();
    println!("{CONNECTIONS} connections to one node, idle for {seconds} s: every one was answered");
    println!("  its resident memory grew by {} KiB with them", crowd.grown_kib);
    true
}
