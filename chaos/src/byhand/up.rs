//! `chaos up`: starts the supervisor, waits until the nodes are ready, says where everything is.

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{UpArgs, control, show};
use crate::ending::{Ending, Failure};
use crate::host::programs;

/// What the supervisor says for itself.
pub(super) const LOG: &str = "chaos.log";

pub(super) fn up(args: &UpArgs) -> Result<Ending, Failure> {
    let cannot = |what: &'static str| move |error: std::io::Error| Ending::Io.says(format!("cannot {what}: {error}"));
    // Before it is made.
    programs::text(&std::path::absolute(&args.dir).map_err(cannot("find the directory"))?)?;
    std::fs::create_dir_all(&args.dir).map_err(cannot("make the directory"))?;
    check_members(&args.dir, args.nodes)?;
    let log = OpenOptions::new().create(true).append(true).open(args.dir.join(LOG)).map_err(cannot("write chaos.log"))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("chaos").args(["internal", "supervise"]).args(args.as_words());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let mut supervisor = command.spawn().map_err(cannot("start the supervisor"))?;
    let mut line = String::new();
    if let Some(stdout) = supervisor.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).map_err(cannot("hear from the supervisor"))?;
    }
    let status = control::parse(&line)?;
    write!(std::io::stdout().lock(), "{}", show::status(&status))?;
    Ok(Ending::Passed)
}

/// Nodes that are there already know how many they are, and would wait for others for ever.
fn check_members(dir: &Path, nodes: usize) -> Result<(), Failure> {
    let there = (1..).take_while(|number| dir.join(format!("n{number}")).exists()).count();
    if there == 0 || there == nodes {
        return Ok(());
    }
    let shown = dir.display();
    Err(Ending::Usage.says(format!("{shown} has the data of {there} nodes: say -n {there}, or another --dir, or remove it")))
}

impl UpArgs {
    /// As they would be typed.
    fn as_words(&self) -> Vec<OsString> {
        let flag = |name: &str, value: &OsStr| {
            let mut word = OsString::from(format!("--{name}="));
            word.push(value);
            word
        };
        let number = |name: &str, value: u64| flag(name, value.to_string().as_ref());
        let mut words = vec![
            number("nodes", self.nodes as u64),
            number("clients", self.clients as u64),
            flag("dir", self.dir.as_os_str()),
            flag("wait", format!("{}ms", self.wait.as_millis()).as_ref()),
        ];
        words.extend(self.kvnode.iter().map(|path| flag("kvnode", path.as_os_str())));
        words.extend(self.net.map(|net| flag("net", show::backend(net).as_ref())));
        words.extend(self.seed.map(|seed| number("seed", seed)));
        words.extend(self.with.map(|pid| number("with", u64::from(pid))));
        words.push("--".into());
        words.extend(self.run_args.iter().map(OsString::from));
        words
    }
}
