//! The story of a run, as people read it.

use sim::{Keep, Plan, Profile, Report, Run};

fn traced(plan: &Plan, slice_us: u64) -> (Vec<String>, Report) {
    let mut run = Run::new(plan);
    run.keep_events(Keep::All);
    loop {
        if let Some(report) = run.advance(slice_us).unwrap_or_else(|failure| panic!("{failure}")) {
            return (run.take_events(), report);
        }
    }
}

#[test]
fn looking_at_a_run_changes_nothing_in_it() {
    let plan = Plan::draw(5, 3, Profile::Default);
    let unseen = sim::run(&plan).unwrap_or_else(|failure| panic!("{failure}"));
    let (story, seen) = traced(&plan, u64::MAX);
    assert_eq!(unseen, seen);
    // Nor does it matter how often one looks.
    let (in_slices, seen) = traced(&plan, 70_001);
    assert_eq!((unseen, story), (seen, in_slices));
}

#[test]
fn a_story_is_told_in_the_notation_of_the_logs() {
    let (story, _) = traced(&Plan::calm(1, 3), u64::MAX);
    let has =
        |words: &str| assert!(story.iter().any(|line| line.contains(words)), "nothing says {words:?} in\n{}", story[..200].join("\n"));
    has("n1 starts, life 1");
    has("n1 has dialled n2, and they have greeted each other");
    has("append t1 after i1/t0: i2/t1 i3/t1 i4/t1 i5/t1, commit i1");
    has("accepted t1 to i5");
    has(" leader i5/t1, t1, commit i5, applied i5");
    has("all faults are over");
    let times: Vec<f64> = story.iter().map(|line| line.split_whitespace().next().unwrap().parse().expect("seconds")).collect();
    assert!(times.is_sorted());
}

#[test]
fn of_the_last_events_only_so_many_are_kept() {
    let mut run = Run::new(&Plan::calm(1, 3));
    run.keep_events(Keep::Last(10));
    run.advance(1_000_000).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(run.take_events().len(), 10);
    assert_eq!(run.take_events().len(), 0);
}
