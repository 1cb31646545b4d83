//! Input that cannot be meant: a clear message, the code that scripts rely on, and nothing lost.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use tests::lossy::Ways;
use tests::{Cluster, Ran, process, programs};

fn lines(numbers: impl Iterator<Item = usize>) -> Vec<u8> {
    numbers.flat_map(|number| format!("key {number:05}\tvalue {number}\n").into_bytes()).collect()
}

fn dump(cluster: &Cluster) -> Vec<u8> {
    cluster.kvcli(["dump"]).expect_code(0).expect_says(&["keys as of position"]).stdout
}

#[test]
fn a_bad_line_of_a_load_is_named_and_the_rest_is_loaded_once_it_is_mended() {
    let cluster = Cluster::start(3);
    let long = [b"key\t".as_slice(), &vec![b'v'; (1 << 20) + 1]].concat();
    let bad: [(&[u8], &str); 8] = [
        (b"no pair at all", "no tab between key and value"),
        (b"", "no tab between key and value"),
        (b"\tvalue", "the key is empty"),
        (&long, "the value is longer than 1048576 bytes"),
        (b"{\"key\":\"k\",\"value\":\"v\",\"ttl\":60}", "unknown field `ttl`"),
        (b"{\"key\":\"k\",\"value\":\"v\"", "EOF"),
        (b"{\"key\":\"k\",\"key_b64\":\"aw==\",\"value\":\"v\"}", "both key and key_b64"),
        (b"{\"key\":\"k\",\"value_b64\":\"?\"}", "value_b64 is not base 64"),
    ];
    for (round, (line, why)) in (0..).zip(bad) {
        let (first, behind) = (round * 200, round * 200 + 100);
        let path = cluster.path().join("lines");
        let input = |line: &[u8]| [&lines(first..behind), line, b"\n", &lines(behind..first + 200)].concat();
        std::fs::write(&path, input(line)).expect("a file");
        let load = |more: &[&str]| {
            let args = [OsStr::new("load"), path.as_os_str()].into_iter().chain(more.iter().map(OsStr::new));
            cluster.kvcli(args)
        };
        let ran = load(&[]).expect_code(2).expect_says(&["line 101: ", why, "\n100 lines done, resume with --from-line 101\n"]);
        assert!(ran.stdout.is_empty() && ran.stderr.len() < 300, "{ran}");
        let ran = load(&["-o", "json"]).expect_code(2);
        let error: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap_or_else(|error| panic!("{error}\n{ran}"));
        assert_eq!((error["code"].as_u64(), error["outcome"].as_str()), (Some(2), Some("not_done")), "{ran}");
        assert_eq!(dump(&cluster), lines(0..behind), "all before it, and nothing else");
        let mended = lines(behind..behind + 1); // the same as the next line
        std::fs::write(&path, input(mended.strip_suffix(b"\n").expect("a line"))).expect("a file");
        load(&["--from-line", "101"]).expect_code(0).expect_says(&["101 lines"]);
        assert_eq!(dump(&cluster), lines(0..first + 200));
    }
}

#[test]
fn a_dump_to_a_full_disk_ends_with_74_and_never_looks_complete() {
    let cluster = Cluster::start(1);
    cluster.kvcli_reading(&lines(0..1000), ["load"]).expect_code(0);
    for args in [&["dump"][..], &["dump", "-o", "jsonl"], &["scan"], &["get", "key 00001"]] {
        let mut command = cluster.kvcli_command(&cluster.endpoints(), args);
        command.stdin(Stdio::null()).stderr(Stdio::piped()).stdout(OpenOptions::new().write(true).open("/dev/full").expect("/dev/full"));
        let output = process::spawn(command).and_then(std::process::Child::wait_with_output).expect("kvcli runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(74), "{args:?}: {stderr}");
        assert!(stderr.contains("standard output") && !stderr.contains("as of position"), "{args:?}: {stderr}");
    }
    assert_eq!(dump(&cluster), lines(0..1000));
}

#[test]
fn a_file_may_have_any_name() {
    let cluster = Cluster::start(1);
    for name in [&b"caf\xe9 \xff"[..], b"-o", b"two\nlines\x1b[31m", "\u{fe0f}".as_bytes()] {
        let path = cluster.path().join(OsStr::from_bytes(name));
        std::fs::write(&path, b"k\tfrom a file\n").expect("a file");
        cluster.kvcli([OsStr::new("load"), path.as_os_str()]).expect_code(0);
        assert_eq!(cluster.kvcli(["get", "k"]).expect_code(0).stdout, b"from a file");
        cluster.kvcli([OsStr::new("put"), OsStr::new("j"), OsStr::new("--file"), path.as_os_str()]).expect_code(0);
        assert_eq!(cluster.kvcli(["get", "j"]).expect_code(0).stdout, b"k\tfrom a file\n");

        std::fs::remove_file(&path).expect("it is there");
        for command in [&["load"][..], &["put", "k", "--file"]] {
            let ran = cluster.kvcli(command.iter().map(OsStr::new).chain([path.as_os_str()])).expect_code(74);
            let ran = ran.expect_says(&["cannot read", "No such file"]);
            assert_eq!(ran.stderr.lines().count(), 1, "{ran}");
            assert!(!ran.stderr.trim_end().contains(char::is_control), "a file's name drives the terminal\n{ran}");
        }
    }
    assert_eq!(dump(&cluster).iter().filter(|byte| **byte == b'\n').count(), 2, "and nothing else was written");
}

#[test]
fn a_command_that_names_an_odd_file_is_settled_by_the_line_that_was_printed() {
    let mut cluster = Cluster::prepare(3);
    let ways = Ways::to(&mut cluster);
    cluster.start_all();
    Ran::kvcli(["--endpoints", &ways.endpoints, "wait", "--all"]).expect_code(0);
    let path = cluster.path().join(OsStr::from_bytes(b"it's\xff\n"));
    std::fs::write(&path, b"once,").expect("a file");
    let args = ["--endpoints", &ways.endpoints, "--timeout", "1s", "append", "k", "--file"].map(OsStr::new);
    let ran = ways.unheard(|| Ran::kvcli(args.into_iter().chain([path.as_os_str()])));
    let line = ran.stderr.lines().find_map(|line| line.strip_prefix("finish safely with: kvcli ")).unwrap_or_else(|| panic!("{ran}"));
    let line = format!("exec {} --timeout 60s {line}", programs::kvcli().display());
    for _ in 0..2 {
        let mut shell = programs::command("bash");
        shell.args(["-c", &line]);
        Ran::run(shell, b"").expect_code(0);
        assert_eq!(cluster.kvcli(["get", "k"]).expect_code(0).stdout, b"once,");
    }
}

#[test]
fn a_token_settles_no_other_command_and_no_other_clusters() {
    let mut cluster = Cluster::prepare(1);
    let ways = Ways::to(&mut cluster);
    cluster.start_all();
    let kvcli = |args: &[&str]| Ran::kvcli([&["--endpoints", &ways.endpoints], args].concat());
    kvcli(&["wait", "--all"]).expect_code(0);
    kvcli(&["put", "k", "v"]).expect_code(0);
    let unknown = ways.unheard(|| kvcli(&["--timeout", "1s", "cas", "k", "--version", "1", "w"]));
    let token = unknown.stderr.split_whitespace().skip_while(|word| *word != "--resume").nth(1).expect("a token");
    let before = kvcli(&["dump"]).expect_code(0).stdout;
    let others: [&[&str]; 9] = [
        &["put", "k", "w"],
        &["append", "k", "w"],
        &["delete", "k"],
        &["cas", "j", "--version", "1", "w"],
        &["cas", "k", "--version", "2", "w"],
        &["cas", "k", "--expect", "1", "w"],
        &["cas", "k", "--absent", "w"],
        &["cas", "k", "--version", "1", "x"],
        &["get", "k"],
    ];
    for other in others {
        kvcli(&[&["--resume", token], other].concat()).expect_code(2).expect_says(&["--resume"]);
    }
    let other = Cluster::start(1);
    let settle = ["--resume", token, "cas", "k", "--version", "1", "w"];
    other.kvcli(settle).expect_code(5).expect_says(&["refused", "the token stays good"]);
    assert!(dump(&other).is_empty());
    assert_eq!(kvcli(&["dump"]).expect_code(0).stdout, before, "nothing has happened");
    // Whatever became of the first attempt, it is settled, once.
    for _ in 0..2 {
        kvcli(&settle).expect_code(0);
        assert_eq!(kvcli(&["get", "k"]).expect_code(0).stdout, b"w");
    }
}
