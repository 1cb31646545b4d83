//! The shell at the end of a demo on a terminal: lines that begin with `\` do something to the nodes, all others are kvcli commands.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;
use std::time::Instant;

use super::cluster::ProcessState;
use super::interrupts::Interrupted;
use super::stage::{Stage, StdoutFailed, say, show};
use crate::words;

const PROMPT: &str = "kvraft> ";

const HELP: &str = r"  \status          the nodes: address, pid, role
  \kill NAME       SIGKILL to a node; NAME may be `leader`
  \restart NAME    start it again, on the same data
  \pause NAME      SIGSTOP: it keeps its connections and says nothing
  \resume NAME     SIGCONT
  \help            this
  Ctrl-D           stop everything and leave
Any other line is a kvcli command: put, append, get, delete, status...";

/// One line, understood.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Line {
    Nothing,
    Help,
    Status,
    Node(Verb, String),
    Kvcli(Vec<OsString>),
    Wrong(String),
}

/// What can be done to a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verb {
    Kill,
    Restart,
    Pause,
    Resume,
}

/// Reads lines and does what they say, until the terminal's end of file.
pub(super) fn shell(stage: &mut Stage) -> anyhow::Result<()> {
    let mut input = Input::default();
    loop {
        show(PROMPT.as_bytes())?;
        let line = input.line(stage);
        if !matches!(line, Ok(Some(_))) {
            show(b"\n")?; // Ctrl-D and Ctrl-C leave the cursor behind the prompt
        }
        let Some(line) = line? else { return Ok(()) };
        let done = match parse(&line) {
            Line::Nothing => Ok(()),
            Line::Help => say(HELP).map_err(Into::into),
            Line::Status => {
                let table = stage.table();
                say(&table).map_err(Into::into)
            }
            Line::Node(verb, name) => act(stage, verb, &name),
            Line::Kvcli(words) => run(stage, &words),
            Line::Wrong(why) => say(&why).map_err(Into::into),
        };
        // A node that ended by itself is worth a line even if nobody asked.
        match done.and_then(|()| Ok(stage.cluster.check_running()?)) {
            Err(error) if error.is::<Interrupted>() || error.is::<StdoutFailed>() => return Err(error),
            Err(error) => say(&error.to_string())?,
            Ok(()) => {}
        }
    }
}

fn parse(line: &[u8]) -> Line {
    let line = line.trim_ascii();
    // Our own verbs are told apart before sh's rules would eat the backslash.
    if let Some(command) = line.strip_prefix(b"\\") {
        let command = String::from_utf8_lossy(command).into_owned();
        let words: Vec<&str> = command.split_whitespace().collect();
        let verb = match words.first() {
            Some(&"kill") => Verb::Kill,
            Some(&"restart") => Verb::Restart,
            Some(&"pause") => Verb::Pause,
            Some(&"resume") => Verb::Resume,
            Some(&"status") if words.len() == 1 => return Line::Status,
            Some(&"help") if words.len() == 1 => return Line::Help,
            _ => return Line::Wrong(format!("\\{command}: not a command here; \\help lists them")),
        };
        return match words[1..] {
            [name] => Line::Node(verb, name.to_owned()),
            _ => Line::Wrong(format!("\\{} wants the name of one node", words[0])),
        };
    }
    match words::split(line) {
        Ok(words) if words.is_empty() => Line::Nothing,
        Ok(mut words) => {
            // Pasted from elsewhere, a command still begins with the program's name.
            if words[0] == "kvcli" && words.len() > 1 {
                words.remove(0);
            }
            Line::Kvcli(words)
        }
        Err(unclosed) => Line::Wrong(unclosed.to_string()),
    }
}

fn act(stage: &mut Stage, verb: Verb, name: &str) -> anyhow::Result<()> {
    let leader = stage.leader();
    let at = match name {
        "leader" => leader.ok_or_else(|| anyhow::anyhow!("there is no leader now"))?,
        name => stage.cluster.find(name)?,
    };
    let name = stage.cluster.nodes()[at].name.clone();
    let state = stage.cluster.nodes()[at].state();
    let started = Instant::now();
    match (verb, state) {
        (Verb::Kill | Verb::Pause | Verb::Resume, ProcessState::Down) => Ok(say(&format!("{name} is down: \\restart {name}"))?),
        (Verb::Pause, ProcessState::Paused) => Ok(say(&format!("{name} is paused already"))?),
        (Verb::Resume, ProcessState::Running) => Ok(say(&format!("{name} is not paused"))?),
        (Verb::Kill, _) => {
            stage.cluster.kill(at)?;
            without(stage, "killed", &name, leader == Some(at), started)
        }
        (Verb::Pause, _) => {
            stage.cluster.pause(at)?;
            without(stage, "paused", &name, leader == Some(at), started)
        }
        (Verb::Restart, _) => {
            stage.cluster.restart(at)?;
            back(stage, "restarted", &name, at, started)
        }
        (Verb::Resume, _) => {
            stage.cluster.resume(at)?;
            back(stage, "resumed", &name, at, started)
        }
    }
}

/// A node was taken away: who leads now?
fn without(stage: &mut Stage, what: &str, name: &str, was_leader: bool, started: Instant) -> anyhow::Result<()> {
    if !stage.has_quorum() {
        return Ok(say(&format!("{what} {name}: without a majority nothing is acknowledged until another node is back"))?);
    }
    if !was_leader {
        return Ok(say(&format!("{what} {name}"))?);
    }
    let successor = stage.wait_leader()?;
    let successor = &stage.cluster.nodes()[successor].name;
    Ok(say(&format!("{what} {name}: {successor} leads after {} ms", started.elapsed().as_millis()))?)
}

/// A node was given back: when does it follow?
fn back(stage: &mut Stage, what: &str, name: &str, at: usize, started: Instant) -> anyhow::Result<()> {
    if !stage.has_quorum() {
        return Ok(say(&format!("{what} {name}: still without a majority"))?);
    }
    stage.wait_caught_up(at)?;
    Ok(say(&format!("{what} {name}: it has caught up after {} ms", started.elapsed().as_millis()))?)
}

/// Runs a kvcli command, which has the terminal meanwhile.
fn run(stage: &mut Stage, words: &[OsString]) -> anyhow::Result<()> {
    let mut child = stage.kvcli_command().args(words).spawn()?;
    let status = stage.wait_foreground(&mut child)?;
    // Errors have been explained on stderr; the number is what a script would see.
    match status.code() {
        Some(0) => Ok(()),
        _ => Ok(say(&format!("[{}]", super::cluster::ending(status)))?),
    }
}

/// Lines from stdin, waited for together with the signals.
#[derive(Default)]
struct Input {
    read_ahead: Vec<u8>,
}

impl Input {
    /// The next line, without its end; `None` at the end of the input.
    fn line(&mut self, stage: &Stage) -> anyhow::Result<Option<Vec<u8>>> {
        let stdin = io::stdin();
        loop {
            if let Some(end) = self.read_ahead.iter().position(|byte| *byte == b'\n') {
                let line = self.read_ahead.drain(..=end).collect();
                return Ok(Some(line));
            }
            stage.interrupts.readable(stdin.as_fd())?;
            // Not through `io::stdin`, whose buffer would hide from `readable` what it has read ahead.
            let mut bytes = [0; 4096];
            let count = nix::unistd::read(&stdin, &mut bytes)?;
            if count == 0 {
                return Ok((!self.read_ahead.is_empty()).then(|| std::mem::take(&mut self.read_ahead)));
            }
            self.read_ahead.extend_from_slice(&bytes[..count]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kvcli(words: &[&str]) -> Line {
        Line::Kvcli(words.iter().map(OsString::from).collect())
    }

    #[test]
    fn backslash_words_are_ours() {
        assert_eq!(parse(br"\status"), Line::Status);
        assert_eq!(parse(br"  \help "), Line::Help);
        assert_eq!(parse(br"\kill leader"), Line::Node(Verb::Kill, "leader".to_owned()));
        assert_eq!(parse(br"\restart  n1"), Line::Node(Verb::Restart, "n1".to_owned()));
        assert_eq!(parse(br"\pause n2"), Line::Node(Verb::Pause, "n2".to_owned()));
        assert_eq!(parse(br"\resume n2"), Line::Node(Verb::Resume, "n2".to_owned()));
    }

    #[test]
    fn all_other_words_are_kvcli_commands() {
        assert_eq!(parse(b"put k 'a b'\n"), kvcli(&["put", "k", "a b"]));
        assert_eq!(parse(b"kvcli get k"), kvcli(&["get", "k"]));
        assert_eq!(parse(b" \t\n"), Line::Nothing);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        assert_eq!(parse(br"\kill"), Line::Wrong(r"\kill wants the name of one node".to_owned()));
        assert_eq!(parse(br"\kill n1 n2"), Line::Wrong(r"\kill wants the name of one node".to_owned()));
        assert_eq!(parse(br"\explode"), Line::Wrong(r"\explode: not a command here; \help lists them".to_owned()));
        assert_eq!(parse(b"put 'k"), Line::Wrong("no closing '".to_owned()));
    }
}
