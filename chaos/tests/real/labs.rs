//! The teaching labs' cases on real processes, a network that loses and delays, partitions and restarts: some of them, a round each.
//! `cargo xtask labs` runs all of them at full length.

use tests::{Ran, host, programs};

use crate::up::{chaos, lacks};

/// Runs one case, if this host can.
fn lab(case: &str, name: &str) {
    if lacks(name) {
        return;
    }
    let seed = format!("--seed={}", host::seed());
    let mut command = chaos(&["lab", case, "--short", &seed]);
    // It takes the kvnode beside it, else from there: one has to be built, whichever test runs first.
    let kvnode = programs::kvnode();
    command.env("PATH", format!("{}:{}", kvnode.parent().expect("a directory").display(), std::env::var("PATH").expect("a path")));
    let ran = Ran::run(command, b"").expect_code(0);
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    host::report(said.lines().last().unwrap_or_default());
    assert!(said.contains(&format!("{case} passed in ")), "{said}");
}

#[test]
fn k_a6_one_partition_real() {
    lab("K-A6", "k_a6_one_partition_real");
}

#[test]
fn k_a13_persist_partition_unreliable_real() {
    lab("K-A13", "k_a13_persist_partition_unreliable_real");
}

#[test]
fn k_b9_everything_random_keys_seven_servers_real() {
    lab("K-B9", "k_b9_everything_random_keys_seven_servers_real");
}

#[test]
fn m_r3_leader_failure_real() {
    lab("M-R3", "m_r3_leader_failure_real");
}

#[test]
fn m_r4_leader_partition_real() {
    lab("M-R4", "m_r4_leader_partition_real");
}

#[test]
fn m_k21_snapshots_unreliable_recover_partition_real() {
    lab("M-K21", "m_k21_snapshots_unreliable_recover_partition_real");
}

#[test]
fn m_l4_ten_clients_lock_and_unlock_on_a_bad_network_real() {
    lab("M-L4", "m_l4_ten_clients_lock_and_unlock_on_a_bad_network_real");
}

#[test]
fn an_unknown_case_is_named() {
    let ran = Ran::run(chaos(&["lab", "K-Z9"]), b"").expect_code(64);
    assert!(ran.stderr.contains("no case K-Z9: `chaos lab list` prints them"), "{ran}");
}
