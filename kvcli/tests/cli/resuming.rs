//! A write whose answer was lost, settled by another process: at most once in all.

use wire::{RefusedReason, Reply};

use crate::fake::{Fake, Manner};
use crate::program::{run_at, run_reading, settle};

#[test]
fn a_lost_answer_is_asked_for_again_within_the_call() {
    let node = Fake::new(Manner::LosesAnswers(3));
    run_at(&[&node], ["append", "k", "v"]).expect(0);
    assert_eq!(node.value(b"k"), Some(b"v".to_vec()), "once");
    let asked = node.asked();
    assert!(asked.len() == 4 && asked.iter().all(|one| *one == asked[0]), "one session, one number: {asked:?}");
}

#[test]
fn a_write_that_took_effect_is_settled_without_doing_it_again() {
    let node = Fake::new(Manner::LosesAnswers(usize::MAX));
    let finish = run_at(&[&node], ["--timeout", "300ms", "append", "k", "v"]).expect(4).finish();
    assert_eq!(node.value(b"k"), Some(b"v".to_vec()));
    node.behave(Manner::Serves);
    for _ in 0..2 {
        settle(&node, &finish).expect(0);
        assert_eq!(node.value(b"k"), Some(b"v".to_vec()), "once in all");
    }
}

#[test]
fn a_write_that_did_not_take_effect_is_done_by_the_command_once() {
    let node = Fake::new(Manner::Mute);
    let finish = run_at(&[&node], ["--timeout", "300ms", "append", "k", "it's -odd"]).expect(4).finish();
    assert_eq!(node.value(b"k"), None);
    node.behave(Manner::Serves);
    for _ in 0..2 {
        settle(&node, &finish).expect(0);
        assert_eq!(node.value(b"k"), Some(b"it's -odd".to_vec()), "{finish}");
    }
}

#[test]
fn the_command_carries_what_came_from_a_pipe_and_the_endpoints_of_the_flag() {
    let node = Fake::new(Manner::Mute);
    let endpoints = format!("--endpoints={}", node.address);
    let args = [endpoints.as_str(), "--timeout", "300ms", "append", "k"];
    let finish = run_reading(&[], b"a\tb'\n\xff", args).expect(4).finish();
    assert!(finish.contains(&format!("--endpoints {}", node.address)), "{finish}");
    node.behave(Manner::Serves);
    settle(&Fake::new(Manner::Silent), &finish).expect(0);
    assert_eq!(node.value(b"k"), Some(b"a\tb'\n\xff".to_vec()));
}

#[test]
fn a_deletion_is_settled_too() {
    let node = Fake::new(Manner::Serves);
    run_at(&[&node], ["put", "k", "v"]).expect(0);
    node.behave(Manner::LosesAnswers(usize::MAX));
    let finish = run_at(&[&node], ["--timeout", "300ms", "delete", "--must-exist", "k"]).expect(4).finish();
    node.behave(Manner::Serves);
    run_at(&[&node], ["put", "k", "another"]).expect(0);
    settle(&node, &finish).expect(0);
    assert_eq!(node.value(b"k"), Some(b"another".to_vec()), "what came later stays");
}

#[test]
fn a_token_settles_no_other_write() {
    let node = Fake::new(Manner::Mute);
    let finish = run_at(&[&node], ["--timeout", "300ms", "put", "k", "v"]).expect(4).finish();
    let token = finish.split(' ').nth(1).unwrap();
    node.behave(Manner::Serves);
    for other in [&["put", "k", "w"][..], &["put", "j", "v"], &["append", "k", "v"], &["delete", "k"]] {
        run_at(&[&node], [&["--resume", token], other].concat()).expect(2);
    }
    assert_eq!(node.value(b"k"), None);
    let damaged = token.replacen('a', "b", 1);
    run_at(&[&node], ["--resume", &damaged, "put", "k", "v"]).expect(2);
    run_at(&[&node], ["--resume", token, "put", "k", "v"]).expect(0);
}

#[test]
fn at_another_cluster_a_token_is_refused_and_stays_good() {
    let node = Fake::new(Manner::Mute);
    let finish = run_at(&[&node], ["--timeout", "300ms", "put", "k", "v"]).expect(4).finish();
    node.behave(Manner::Refuses(RefusedReason::WrongCluster));
    let refused = settle(&node, &finish).expect(5);
    assert_eq!(refused.finish(), finish);
    node.behave(Manner::Serves);
    settle(&node, &finish).expect(0);
}

#[test]
fn a_forgotten_session_leaves_it_unknown_and_offers_no_false_way_out() {
    let node = Fake::new(Manner::Mute);
    let finish = run_at(&[&node], ["--timeout", "300ms", "put", "k", "v"]).expect(4).finish();
    node.behave(Manner::Answers(Reply::SessionExpired));
    let ran = settle(&node, &finish).expect(4);
    assert!(!ran.stderr.contains("finish safely") && ran.stderr.contains("look at the key"), "{ran:?}");
}
