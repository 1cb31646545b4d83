//! What is typed wrongly is named, with the exit code that scripts rely on: 64 from `kvnode`, 2 from `kvcli`.

use tests::cli::Ran;
use tests::{Cluster, place};

#[test]
fn kvnode_names_an_unknown_flag_and_ends_with_64() {
    Ran::kvnode(["run", "--data-dir", "d", "--no-such-flag"]).expect_code(64).expect_says(&["--no-such-flag"]);
}

#[test]
fn kvnode_names_an_unparsable_address_and_ends_with_64() {
    Ran::kvnode(["run", "--data-dir", "d", "--listen-client", "nowhere"]).expect_code(64).expect_says(&["nowhere", "--listen-client"]);
    let dir = place::directory();
    let data_dir = dir.path().join("n1");
    let args = ["init".as_ref(), "--data-dir".as_ref(), data_dir.as_os_str(), "--name".as_ref(), "n1".as_ref(), "--cluster".as_ref()];
    for (cluster, named) in [("n1=1.2.3.4", "1.2.3.4"), ("n1=h:99999", "h:99999"), ("n1", "n1"), ("n1=h:1,n1=h:2", "n1")] {
        Ran::kvnode(args.into_iter().chain([cluster.as_ref()])).expect_code(64).expect_says(&[named, "--cluster"]);
    }
    assert!(!data_dir.exists(), "a mistake on the command line creates nothing");
}

#[test]
fn kvnode_init_refuses_a_name_that_is_not_a_member() {
    let dir = place::directory();
    let data_dir = dir.path().join("n9");
    let args = ["init", "--data-dir", data_dir.to_str().expect("text"), "--name", "n9", "--cluster", "n1=127.0.0.1:1,n2=127.0.0.1:2"];
    Ran::kvnode(args).expect_one_of(&[64, 78]).expect_says(&["n9"]);
}

#[test]
fn kvnode_alone_prints_a_hint_and_ends_with_64() {
    let ran = Ran::kvnode::<&str>([]).expect_code(64).expect_says(&["kvnode dev", "kvnode init", "kvnode run"]);
    assert!(ran.stderr.lines().count() <= 12, "a hint, not a manual\n{ran}");
    assert!(ran.stdout.is_empty());
}

#[test]
fn kvcli_names_an_unknown_flag_command_or_address_and_ends_with_2() {
    Ran::kvcli(["put", "k", "v", "--no-such-flag"]).expect_code(2).expect_says(&["--no-such-flag"]);
    Ran::kvcli(["no-such-command"]).expect_code(2).expect_says(&["no-such-command"]);
    Ran::kvcli(["--timeout", "soon", "get", "k"]).expect_code(2).expect_says(&["soon", "--timeout"]);
    Ran::kvcli(["--endpoints", "127.0.0.1:99999", "get", "k"]).expect_code(2).expect_says(&["127.0.0.1:99999", "--endpoints"]);
}

#[test]
fn options_of_kvcli_stand_before_or_after_the_command() {
    let cluster = Cluster::start(1);
    let endpoints = cluster.endpoints();
    Ran::kvcli(["put", "k", "v", "--endpoints", &endpoints]).expect_code(0);
    assert_eq!(Ran::kvcli(["--endpoints", &endpoints, "get", "k"]).expect_code(0).stdout, b"v");
    Ran::kvcli(["get", "missing", "--endpoints", &endpoints]).expect_code(1);
}
