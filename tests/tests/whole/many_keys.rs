//! Many keys at once: loaded, dumped, scanned and swapped, while writers write and nodes die.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;
use std::thread;

use kvcli::{Ask, Clerk, ClerkError, Expectation, Options, Range, WriteOutcome};
use tests::dumps::Dumps;
use tests::wait::PATIENCE;
use tests::{Cluster, Ran, host, process, wait_until};

fn clerk(cluster: &Cluster) -> Clerk {
    let endpoints = cluster.endpoints();
    Clerk::new(endpoints.split(','), Options { timeout: PATIENCE, ..Options::default() }).expect("a clerk")
}

/// Puts all of them, as many at a time as a session takes.
fn put_all(cluster: &Cluster, pairs: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) {
    let mut clerk = clerk(cluster);
    let calls: Vec<_> = pairs.into_iter().map(|(key, value)| clerk.submit(Ask::Put { key, value }, PATIENCE)).collect();
    for call in calls {
        clerk.wait(call).expect("a put is done");
    }
}

fn dump(cluster: &Cluster) -> Vec<u8> {
    cluster.kvcli(["dump"]).expect_code(0).stdout
}

/// What a Debian system says of its own files, as lines of path and sum in byte order. Elsewhere, as many lines that look like it.
fn md5sums() -> String {
    let mut sums = BTreeMap::new();
    let files = std::fs::read_dir("/var/lib/dpkg/info").into_iter().flatten().flatten().map(|entry| entry.path());
    for file in files.filter(|path| path.extension().is_some_and(|extension| extension == "md5sums")) {
        let text = std::fs::read(file).expect("a readable file");
        for line in String::from_utf8_lossy(&text).lines() {
            let (sum, path) = line.split_once("  ").expect("a sum and a path");
            sums.entry(path.to_string()).or_insert(sum.to_string());
        }
    }
    if sums.is_empty() {
        sums.extend((0..10_000).map(|number| (format!("usr/share/{number}"), format!("{number:032x}"))));
    }
    sums.iter().map(|(path, sum)| format!("{path}\t{sum}\n")).collect()
}

#[test]
fn a_load_whose_leader_is_killed_half_way_is_dumped_byte_for_byte() {
    let mut cluster = Cluster::start(3);
    let lines = md5sums();
    let half = lines[..lines.len() / 2].rfind('\n').expect("a line") + 1;
    let mut command = cluster.kvcli_command(&cluster.endpoints(), ["load"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut load = process::spawn(command).expect("kvcli starts");
    let mut pipe = load.stdin.take().expect("a pipe");
    let kill_at = lines[..half].lines().count() / 2;
    thread::scope(|scope| {
        let writer = scope.spawn(move || {
            pipe.write_all(&lines.as_bytes()[..half]).expect("it reads");
            (pipe, lines)
        });
        wait_until("a quarter is loaded", PATIENCE * 4, || {
            let status = cluster.try_status();
            status.is_ok_and(|status| cluster.nodes.iter().any(|node| status.number(&node.name, "keys") >= Some(kill_at as u64)))
        });
        let leader = cluster.leader();
        cluster.kill(leader);
        let (mut pipe, lines) = writer.join().expect("the first half is written");
        cluster.start_node(leader);
        pipe.write_all(&lines.as_bytes()[half..]).expect("it reads");
        drop(pipe);
        let output = load.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(said.starts_with(&format!("{} lines in ", lines.lines().count())), "{said}");
        assert!(dump(&cluster) == lines.as_bytes(), "what is dumped is not what was loaded");
    });
}

#[test]
fn ten_thousand_random_binary_pairs_survive_scan_dump_and_load() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut bytes = |len_max| -> Vec<u8> {
        let len = random.usize(1..=len_max);
        // Tabs, line feeds and braces more often than chance would have it.
        (0..len).map(|_| if random.bool() { random.u8(..) } else { b"\t\n\r{\"\0"[random.usize(..6)] }).collect()
    };
    let mut pairs = BTreeMap::new();
    while pairs.len() < 10_000 {
        pairs.insert(bytes(12), bytes(40));
    }
    let (from, to) = (Cluster::start(3), Cluster::start(1));
    put_all(&from, pairs.clone());

    let mut clerk = clerk(&from);
    let scanned: Result<Vec<_>, ClerkError> = clerk.scan(Range::default()).expect("a scan").collect();
    let scanned: Vec<_> = scanned.expect("all pages").into_iter().map(|item| (item.key, item.value)).collect();
    assert!(scanned == pairs.into_iter().collect::<Vec<_>>(), "a scan returns what was put, in byte order");

    let dumped = dump(&from);
    to.kvcli_reading(&dumped, ["load"]).expect_code(0);
    assert!(dump(&to) == dumped, "a copy is no copy");
}

/// A file of JSON lines as a person or a program would write it: not as `dump` would. And the lines that `dump` writes for it.
const JSON_LINES: [(&str, &[u8]); 12] = [
    (r#"{"key": "plain", "value": "text"}"#, b"plain\ttext"),
    (r#"{"value":"the other way round","key":"order"}"#, b"order\tthe other way round"),
    (r#"{"key":"empty","value":""}"#, b"empty\t"),
    (r#"{"key":"escapes","value":"tab\t nul\u0000 é € \ud83d\ude00"}"#, "escapes\ttab\t nul\0 é € 😀".as_bytes()),
    (r#"{"key":"version","value":"is read over","version":7}"#, b"version\tis read over"),
    (r#"{"key":"a tab\tin a key","value":"v"}"#, br#"{"key":"a tab\tin a key","value":"v"}"#),
    (r#"{"key":"a line\nin a key","value":"v"}"#, br#"{"key":"a line\nin a key","value":"v"}"#),
    (r#"{"key":"lines","value":"one\ntwo\r\n"}"#, br#"{"key":"lines","value":"one\ntwo\r\n"}"#),
    (r#"{"key":"{brace","value":"{}"}"#, br#"{"key":"{brace","value":"{}"}"#),
    (r#"{"key_b64":"/wA=","value":"a key of ff and 00"}"#, b"\xff\0\ta key of ff and 00"),
    (r#"{"key":"bytes","value_b64":"//4A"}"#, b"bytes\t\xff\xfe\0"),
    (r#"{"key":"bytes and a line","value_b64":"/wo="}"#, br#"{"key":"bytes and a line","value_b64":"/wo="}"#),
];

#[test]
fn a_file_of_json_lines_survives_load_and_dump_in_either_form() {
    let (from, tabs, json) = (Cluster::start(3), Cluster::start(1), Cluster::start(1));
    let file = from.path().join("lines.jsonl");
    // The last line without a line feed, as some editors leave it.
    std::fs::write(&file, JSON_LINES.map(|(line, _)| line).join("\n")).expect("a file");
    let ran = from.kvcli(["load", file.to_str().expect("text")]).expect_code(0);
    ran.expect_says(&["12 lines in "]);

    let mut expected = JSON_LINES.map(|(_, line)| [line, b"\n"].concat());
    let dumped = dump(&from);
    let mut lines: Vec<Vec<u8>> = dumped.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    expected.sort();
    lines.sort(); // a dump is in the order of keys, and some of these lines do not begin with theirs
    let shown = |lines: &[Vec<u8>]| lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect::<Vec<_>>();
    assert_eq!(shown(&lines), shown(&expected));
    assert!(lines == expected, "they differ where no text shows it");

    // In either form it makes the same keys and values again.
    tabs.kvcli_reading(&dumped, ["load"]).expect_code(0);
    let documents = from.kvcli(["dump", "-o", "jsonl"]).expect_code(0).stdout;
    assert!(documents.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).all(|line| line[0] == b'{'));
    json.kvcli_reading(&documents, ["load"]).expect_code(0);
    for copy in [&tabs, &json] {
        assert!(dump(copy) == dumped, "a copy is no copy");
    }
    assert_eq!(json.kvcli(["-o", "raw", "get", "escapes"]).expect_code(0).stdout, "tab\t nul\0 é € 😀".as_bytes());

    // What a document may not say ends the load, with its number and the reason, and what was before it is done.
    for (line, reason) in [
        (r#"{"key":"k"}"#, "value"),
        (r#"{"key":"k","value":"v","valeu":"w"}"#, "valeu"),
        (r#"{"key":"k","key_b64":"aw==","value":"v"}"#, "key"),
        (r#"{"key":"k","value_b64":"not base64!"}"#, "base 64"),
        (r#"{"key":"k","value":7}"#, "string"),
        (r#"{"key":"","value":"v"}"#, "empty"),
    ] {
        let input = format!("before\t{reason}\n{line}\nbehind\tnothing\n");
        let ran = tabs.kvcli_reading(input.as_bytes(), ["load"]).expect_code(2);
        ran.expect_says(&["line 2", reason, "1 lines done, resume with --from-line 2"]);
        assert_eq!(tabs.kvcli(["get", "before"]).expect_code(0).stdout, reason.as_bytes());
        tabs.kvcli(["get", "behind"]).expect_code(1);
    }
}

/// One increment by a process of its own, however often it loses and whatever it is told.
fn increment(cluster: &str) {
    let kvcli = |args: &[&str]| Ran::kvcli([&["--endpoints", cluster, "--timeout", "10s"], args].concat());
    loop {
        let read = kvcli(&["get", "-o", "json", "counter"]).expect_one_of(&[0, 3]);
        let Ok(found) = serde_json::from_slice::<serde_json::Value>(&read.stdout) else { continue };
        let version = found["version"].to_string();
        let count: u64 = found["value"].as_str().and_then(|text| text.parse().ok()).expect("a number");
        let next = (count + 1).to_string();
        let cas = ["cas", "counter", "--version", &version, &next];
        let mut ran = kvcli(&cas);
        while ran.code == 4 {
            let words: Vec<String> = ran.stderr.split_whitespace().map(str::to_string).collect();
            let token = words.iter().position(|word| word == "--resume").map(|at| words[at + 1].clone());
            ran = kvcli(&[&["--resume", &token.expect("a way to settle it")], &cas[..]].concat());
        }
        match ran.expect_one_of(&[0, 1, 3]).code {
            0 => return,
            _ => continue, // another was faster, or it was not done
        }
    }
}

#[test]
fn a_counter_swapped_by_16_processes_is_exact_though_its_leader_is_killed() {
    const EACH: u64 = 2;
    let mut cluster = Cluster::start(3);
    cluster.kvcli(["cas", "counter", "--absent", "0"]).expect_code(0);
    let endpoints = cluster.endpoints();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| (0..EACH).for_each(|_| increment(&endpoints)));
        }
        wait_until("they have begun", PATIENCE, || cluster.kvcli(["get", "counter"]).stdout != b"0");
        let leader = cluster.leader();
        cluster.kill(leader);
        wait_until("they go on without it", PATIENCE, || cluster.kvcli(["put", "other", "v"]).code == 0);
        cluster.start_node(leader);
    });
    let found = cluster.kvcli(["get", "-o", "json", "counter"]).expect_code(0);
    let found: serde_json::Value = serde_json::from_slice(&found.stdout).expect("a document");
    assert_eq!((found["value"].as_str(), found["version"].as_u64()), (Some("32"), Some(1 + 16 * EACH)), "each increment once");
}

#[test]
fn every_dump_is_one_point_in_time_while_a_writer_writes_the_first_and_then_the_last_of_100_000_keys() {
    let cluster = Cluster::start_calm(3);
    let dumps = Dumps::of(&cluster, 100_000);
    let before = cluster.status().term();
    // A bench writes beside it, keys of its own, and says how long the longest write took.
    let args = ["bench", "--clients", "4", "--keys", "100", "--seconds", "4", "--warmup", "0", "--json"];
    let mut bench = cluster.kvcli_command(&cluster.endpoints(), args);
    bench.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut bench = process::spawn(bench).expect("kvcli starts");
    let count = dumps.check_while(&cluster, 4, || bench.try_wait().expect("a child").is_none());
    let figures = bench.wait_with_output().expect("it ends");
    assert_eq!(figures.status.code(), Some(0), "{}", String::from_utf8_lossy(&figures.stderr));
    let figures: serde_json::Value = serde_json::from_slice(&figures.stdout).expect("a document");
    host::report(format!("{count} dumps of 100000 keys; the longest write of a bench beside them: {} us", figures["max_us"]));
    assert_eq!(cluster.status().term(), before, "a dump costs nobody the lead");
}

#[test]
fn without_a_majority_a_stale_read_still_answers_and_says_so() {
    let mut cluster = Cluster::start(3);
    put_all(&cluster, (0..5_000u32).map(|number| (number.to_string().into_bytes(), vec![b'v'; 200])));
    cluster.wait_equal();
    let all = dump(&cluster);
    let follower = cluster.follower();
    (0..3).filter(|number| *number != follower).for_each(|number| cluster.pause(number));
    cluster.kvcli_at([follower], ["--timeout", "1s", "get", "7"]).expect_code(3);
    cluster.kvcli_at([follower], ["--timeout", "1s", "scan"]).expect_code(3);
    let value = cluster.kvcli_at([follower], ["get", "--stale", "7"]).expect_code(0).expect_says(&["as of position", "leader"]);
    assert_eq!(value.stdout, [b'v'; 200]);
    let dumped = cluster.kvcli_at([follower], ["dump", "--stale"]).expect_code(0).expect_says(&["5000 keys as of position"]);
    assert!(dumped.stdout == all, "all of it, page by page");
}

#[test]
fn a_scan_whose_node_dies_midway_is_lost_and_says_so_to_a_library() {
    let mut cluster = Cluster::start_calm(3); // who leads when the scan begins leads when it dies
    put_all(&cluster, (0..10_000u32).map(|number| (number.to_be_bytes().to_vec(), vec![b'v'; 200])));
    let leader = cluster.leader();
    let mut clerk = clerk(&cluster);
    clerk.put("z", "last").expect("a put");
    let mut scan = clerk.scan(Range::default()).expect("a first page");
    assert!(scan.next().is_some_and(|item| item.is_ok()));
    cluster.kill(leader);
    let error = scan.find_map(Result::err);
    assert!(matches!(error, Some(ClerkError::ScanLost { .. })), "{error:?}");
    drop(scan);
    let again = clerk.scan(Range { keys_only: true, ..Range::default() }).expect("a new leader");
    assert_eq!(again.filter(|item| item.is_ok()).count(), 10_001, "the same clerk begins again");
    let swapped = clerk.cas("z", Expectation::Value(b"last".to_vec()), "over").expect("a cas");
    assert_eq!(swapped.outcome, WriteOutcome::Swapped);
}
