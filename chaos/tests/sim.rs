//! `chaos sim` from the outside: what it prints, and how it ends.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn chaos(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    command.arg("sim").args(args);
    command
}

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = chaos(args).output().expect("chaos starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

fn start(args: &[&str]) -> (Child, BufReader<impl Read>) {
    let mut child = chaos(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("chaos starts");
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    (child, out)
}

/// Without what depends on clocks.
fn timeless(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with("simulated ")).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_range_names_its_seeds_first_and_sums_up_what_happened() {
    let (code, out, err) = run(&["--seeds", "1..120", "--jobs", "2"]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "seeds=1..120 nodes=3 profile=default jobs=2");
    assert!(lines[1].starts_with("to 100: operations "), "{out}");
    let counts: Vec<(&str, u64)> = lines[2]
        .split(", ")
        .map(|count| count.rsplit_once(' ').expect("name and number"))
        .map(|(name, number)| (name, number.parse().expect("a number")))
        .collect();
    assert_eq!(
        counts.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        ["operations", "crashes", "lost writes", "leader changes", "installs"]
    );
    assert!(counts.iter().all(|(_, count)| *count > 0), "{out}");
    assert!(lines[3].starts_with("faults: "), "{out}");
    let words: Vec<&str> = lines[4].split_whitespace().collect();
    let [operations, "operations", "and", faults, "faults", ..] = words[..] else { panic!("{out}") };
    let words: Vec<&str> = lines[5].split_whitespace().collect();
    let ["without", "positions,", "too:", judged, "keys", "judged,", ..] = words[..] else { panic!("{out}") };
    assert_ne!(judged, "0");
    let words: Vec<&str> = lines[6].split_whitespace().collect();
    let ["simulated", seconds, "s", "in", wall, "s:", ratio, "x,", ..] = words[..] else { panic!("{out}") };
    let number = |text: &str| text.parse::<f64>().expect("a number");
    assert!(number(seconds) >= 120.0 * 8.0 && number(wall) > 0.0 && number(ratio) > 0.0, "{out}");
    assert!(number(operations) >= 20.0 && number(faults) >= 1.0, "{out}");
    assert!(lines[6].ends_with(" committed operations per core-second"), "{out}");
    assert_eq!(lines[7..], ["seeds=1..120 passed"]);
}

#[test]
fn the_same_seeds_print_the_same_on_any_number_of_cores() {
    let on = |jobs: &str| {
        let (_, out, _) = run(&["--seeds", "31..60", "--nodes", "5", "--jobs", jobs]);
        timeless(&out).replace(&format!(" jobs={jobs}\n"), "\n")
    };
    assert_eq!(on("1"), on("3"));
}

#[test]
fn one_seed_shows_a_line_per_second_with_a_column_per_node() {
    let (code, out, err) = run(&["--seed", "7", "--nodes", "5"]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "seed=7 nodes=5 profile=default");
    assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["s", "n1", "n2", "n3", "n4", "n5"]);
    let rows: Vec<&str> = lines[3..].iter().copied().take_while(|line| !line.starts_with("operations ")).collect();
    assert!(rows.len() >= 8, "{out}");
    for (second, row) in rows[..rows.len() - 1].iter().enumerate() {
        assert!(row.trim_start().starts_with(&format!("{}.0  ", second + 1)), "{row}");
    }
    let last = rows[rows.len() - 1];
    let nodes = last.split("  ").filter(|cell| cell.contains(" t")).count();
    assert_eq!((nodes, last.matches("L t").count()), (5, 1), "all are up and one leads: {last}");
    assert_eq!(lines[lines.len() - 1], "seed=7 passed, twice alike");
    let again = run(&["--seed", "7", "--nodes", "5"]).1;
    assert_eq!(timeless(&out), timeless(&again));
}

#[test]
fn a_trace_tells_every_event_and_is_the_same_every_time() {
    let (code, out, _) = run(&["--seed", "3", "--trace"]);
    assert_eq!(code, Some(0));
    for words in ["n1 starts, life 1", " -> n", " append t", " leader i", "put "] {
        assert!(out.contains(words), "nothing says {words:?}");
    }
    assert_eq!(timeless(&out), timeless(&run(&["--seed", "3", "--trace"]).1));
}

#[test]
fn a_trace_into_a_closed_pipe_ends_silently_with_141() {
    let (mut child, mut out) = start(&["--seed", "3", "--trace"]);
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    assert_eq!(line, "seed=3 nodes=3 profile=default\n");
    drop(out);
    let output = child.wait().and_then(|status| {
        let mut err = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut err).map(|_| (status.code(), err))
    });
    assert_eq!(output.expect("it ends"), (Some(141), String::new()));
}

#[test]
fn a_range_into_a_closed_pipe_ends_silently_with_141() {
    let (mut child, out) = start(&["--seeds", "1..1000000"]);
    drop(out);
    assert_eq!(child.wait().expect("it ends").code(), Some(141));
}

#[test]
fn ctrl_c_ends_a_range_with_130_and_what_was_found_so_far() {
    let (mut child, mut out) = start(&["--seeds", "1..1000000"]);
    let mut text = String::new();
    while !text.contains("to 100: ") {
        assert!(out.read_line(&mut text).expect("text") > 0, "it ended: {text}");
    }
    kill(Pid::from_raw(child.id().try_into().expect("a pid")), Signal::SIGINT).expect("it runs");
    out.read_to_string(&mut text).expect("text");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    let last = text.lines().last().expect("text");
    assert!(last.starts_with("interrupted: seeds=1..") && last.ends_with(" had passed"), "{text}");
    assert!(text.contains("\nsimulated "), "{text}");
}

#[test]
fn a_range_that_shows_nothing_is_inconclusive_and_says_of_what() {
    let (code, out, _) = run(&["--seeds", "8..9", "--for", "0s"]);
    assert_eq!(code, Some(4), "{out}");
    let never = "inconclusive: seeds=8..9 never had operations, crashes, lost writes, leader changes, installs";
    assert_eq!(out.lines().last(), Some(never), "no time, no seed");
}

#[test]
fn time_that_is_up_ends_a_range_without_an_end() {
    let (code, out, _) = run(&["--seeds", "1..", "--for", "2s"]);
    assert_eq!(
        out.lines().next(),
        Some(&*format!("seeds=1.. nodes=3 profile=default jobs={}", std::thread::available_parallelism().expect("cores")))
    );
    // On a slow machine that is too little to have seen everything.
    assert!(matches!(code, Some(0 | 4)), "{out}");
    let last = out.lines().last().expect("text");
    assert!(last.contains("seeds=1.."), "{out}");
}

#[test]
fn bad_input_is_named_and_exits_64() {
    for (args, said) in [
        (&["--seeds", "5..3"][..], "nothing from 5 to 3: the first seed comes first"),
        (&["--seeds", ""], "a range looks like 1..1000"),
        (&["--seeds", "17"], "a range looks like 1..1000"),
        (&["--seeds", "a..b"], "\"a\" is no seed"),
        (&["--seeds", "1.."], "--seeds 1.. has no end: say --for how long, or a last seed"),
        (&["--seeds", "1..2", "--seed", "1"], "cannot be used with"),
        (&["--seed", "one"], "invalid value 'one' for '--seed <N>'"),
        (&["--seed", "-1"], "unexpected argument '-1'"),
        (&["--nodes", "4"], "a cluster here has 3, 5 or 7 nodes"),
        (&["--nodes", "many"], "a cluster here has 3, 5 or 7 nodes"),
        (&["--trace"], "--seed <N>"),
        (&["--seeds", "1..2", "--trace"], "cannot be used with"),
        (&["--seeds", "1..2", "--end", "4s"], "cannot be used with"),
        (&["--profile", "stormy"], "there is no profile stormy; there are default, calm, network, disk, crash, snapshots, clients, storm"),
        (&["--seed", "1", "--without", "rain"], "there are kills, power-cuts, "),
        (&["--seed", "1", "--faults", "1,two"], "\"two\" is no number of a fault"),
        (&["--clerks", "1"], "--seed <N>"),
        (&["--jobs", "0"], "invalid value '0' for '--jobs <COUNT>'"),
        (&["--seeds", "1..", "--for", "soon"], "invalid value 'soon' for '--for <TIME>'"),
        (&["--no-such-flag"], "unexpected argument '--no-such-flag'"),
        (&["extra"], "unexpected argument 'extra'"),
    ] {
        let (code, out, err) = run(args);
        assert_eq!((code, out.as_str()), (Some(64), ""), "{args:?}: {err}");
        assert!(err.contains(said), "{args:?}: {err}");
    }
}

#[test]
fn help_shows_examples_that_are_accepted() {
    let (code, out, _) = run(&["--help"]);
    assert_eq!(code, Some(0));
    let examples: Vec<&str> = out.lines().filter_map(|line| line.trim().strip_prefix("chaos sim ")).collect();
    assert!(examples.len() >= 4, "{out}");
    for example in examples {
        let args: Vec<&str> = example.split(" | ").next().expect("a command").split_whitespace().collect();
        let (mut child, mut out) = start(&args);
        let mut line = String::new();
        out.read_line(&mut line).expect("text");
        assert!(line.starts_with("seed"), "{example}: {line}");
        child.kill().and_then(|()| child.wait()).expect("it has begun");
    }
}

/// A failure in the first seeds, made on purpose; its output in lines.
fn sabotaged(more: &[&str]) -> (Option<i32>, Vec<String>) {
    let (code, out, err) = run(&[&["--seeds", "1..40", "--jobs", "2", "--sabotage"], more].concat());
    assert_eq!(err, "");
    (code, out.lines().map(str::to_owned).collect())
}

fn replay(line: &str) -> (Option<i32>, String) {
    let args: Vec<&str> = line.strip_prefix("replay: chaos sim ").unwrap_or_else(|| panic!("{line}")).split(' ').collect();
    let (code, out, _) = run(&args);
    (code, out)
}

#[test]
fn a_failure_tells_the_events_before_the_rule_and_the_command_that_repeats_it() {
    let (code, lines) = sabotaged(&["--nodes", "5", "--profile", "crash"]);
    let out = lines.join("\n");
    assert_eq!(code, Some(1), "{out}");
    assert!(lines.iter().any(|line| line.starts_with("the last 60 events of seed ")), "{out}");
    assert!(lines.iter().any(|line| line.contains("n1 starts, life ") || line.contains(" -> n")), "{out}");
    let broken = lines.iter().find(|line| line.starts_with("VIOLATION in seed ")).unwrap_or_else(|| panic!("{out}"));
    let last = lines.last().expect("lines");
    assert!(last.ends_with(" --nodes 5 --profile crash --sabotage"), "{last}");
    let (code, again) = replay(last);
    assert_eq!(code, Some(1), "{again}");
    assert!(again.contains(broken.as_str()), "{broken}\n{again}");
}

#[test]
fn shrinking_leaves_a_handful_of_faults_and_a_command_that_fails_in_the_same_way() {
    let (code, lines) = sabotaged(&["--shrink"]);
    let out = lines.join("\n");
    assert_eq!(code, Some(1), "{out}");
    let rule = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("VIOLATION in seed ")).map(str::to_owned);
        line.and_then(|line| line.rsplit_once(": ").map(|(_, rule)| rule.to_owned())).unwrap_or_else(|| panic!("{text}"))
    };
    let faults = lines.iter().filter(|line| line.contains(" s, fault ")).count();
    assert!((1..=5).contains(&faults), "{out}");
    let replays: Vec<&String> = lines.iter().filter(|line| line.starts_with("replay: ")).collect();
    assert_eq!(replays.len(), 2, "{out}");
    let (code, again) = replay(replays[1]);
    assert_eq!((code, rule(&again)), (Some(1), rule(&out)), "{again}");
}

#[test]
fn a_part_of_a_run_is_what_its_options_say() {
    let (code, out, _) = run(&["--seed", "5", "--faults", "none", "--without", "loss,delays,clocks", "--clerks", "0", "--end", "2s"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("\noperations "), "{out}");
    assert!(!out.contains("killed ") && !out.contains("power-lost "), "{out}");
}
