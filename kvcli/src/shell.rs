//! `kvcli shell`: a line is a command, and one clerk runs them all, so that none but the first waits for a connection.
//!
//! Lines are split as `sh` does it, without variables and the like. On a terminal there are history and completion, and an error is
//! followed by the next line. Otherwise the lines are a script: the first exit code above 1 ends it and is ours.

use std::ffi::OsString;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};
use kvcli::words;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Editor, Helper};

use crate::cli::{Cli, Command, Global};
use crate::failure::Failure;
use crate::lending::Clerks;
use crate::{complain, run_command};

const PROMPT: &str = "kvcli> ";
const HISTORY_LINES_MAX: usize = 1000;

/// What holds between lines.
struct Shell<'a> {
    /// Options of the shell itself: those of every command in it that has no others.
    global: &'a Global,
    clerks: Clerks,
    is_script: bool,
}

/// A line, understood.
#[derive(Debug)]
enum Line {
    Nothing,
    Exit,
    Command(Vec<OsString>),
}

/// Runs lines until they end; returns the exit code.
pub(crate) fn run(global: &Global) -> Result<u8, Failure> {
    let is_script = !(io::stdin().is_terminal() && io::stdout().is_terminal());
    let shell = Shell { global, clerks: Clerks::default(), is_script };
    if is_script { shell.script() } else { shell.converse().context("cannot read from the terminal").map_err(Failure::Local) }
}

impl Shell<'_> {
    fn script(&self) -> Result<u8, Failure> {
        loop {
            // Locked for one line only: what a command is given on standard input is refused, but it may look there.
            let mut line = Vec::new();
            let read = io::stdin().lock().read_until(b'\n', &mut line).context("cannot read standard input").map_err(Failure::Local)?;
            if read == 0 {
                return Ok(0);
            }
            match parse(&line) {
                Ok(Line::Nothing) => {}
                Ok(Line::Exit) => return Ok(0),
                Ok(Line::Command(words)) => match self.run(words) {
                    0 | 1 => {}
                    code => return Ok(code),
                },
                Err(unclosed) => return Err(Failure::Usage(unclosed.to_string())),
            }
        }
    }

    fn converse(&self) -> anyhow::Result<u8> {
        let config = Config::builder().max_history_size(HISTORY_LINES_MAX)?.history_ignore_space(true).auto_add_history(true).build();
        let mut editor: Editor<Words, FileHistory> = Editor::with_config(config)?;
        editor.set_helper(Some(Words));
        let history = history_file();
        if let Some(file) = &history {
            let _ = editor.load_history(file); // there may be none yet
        }
        loop {
            let line = match editor.readline(PROMPT) {
                Ok(line) => line,
                Err(ReadlineError::Interrupted) => continue, // Ctrl-C drops the line
                Err(ReadlineError::Eof) => return Ok(0),
                Err(error) => return Err(error.into()),
            };
            if let Some(file) = &history {
                let _ = editor.append_history(file); // a shell without a memory is still a shell
            }
            match parse(line.as_bytes()) {
                Ok(Line::Nothing) => {}
                Ok(Line::Exit) => return Ok(0),
                // Errors have been explained on stderr; the number is what a script would see.
                Ok(Line::Command(words)) => match self.run(words) {
                    0 => {}
                    141 => return Ok(141),
                    code => writeln!(io::stderr(), "[exit {code}]")?,
                },
                Err(unclosed) => writeln!(io::stderr(), "kvcli: {unclosed}")?,
            }
        }
    }

    /// One command; returns its exit code.
    fn run(&self, words: Vec<OsString>) -> u8 {
        let json = crate::is_json(self.global.output.as_deref());
        let refuse = |why: String| {
            complain(&Failure::Usage(why), 2, json);
            2
        };
        let cli = match Cli::try_parse_from(std::iter::once("kvcli".into()).chain(words.iter().cloned())) {
            Ok(cli) => cli,
            Err(error) => return crate::not_a_command(&error, words, json),
        };
        match &cli.command {
            // The demo takes over every signal, for good.
            Command::Shell | Command::Demo(_) => return refuse(format!("{}: not in a shell", cli.command.name())),
            command if self.is_script && command.reads_stdin() => {
                return refuse(format!(
                    "{}: in a script, standard input is the script: give what it would read there, or a file",
                    command.name()
                ));
            }
            _ => {}
        }
        let global = Global {
            endpoints: cli.global.endpoints.or_else(|| self.global.endpoints.clone()),
            timeout: cli.global.timeout.or_else(|| self.global.timeout.clone()),
            output: cli.global.output.or_else(|| self.global.output.clone()),
            resume: cli.global.resume,
        };
        run_command(Cli { global, command: cli.command }, &self.clerks)
    }
}

fn parse(line: &[u8]) -> Result<Line, words::Unclosed> {
    let line = line.trim_ascii();
    if line.starts_with(b"#") {
        return Ok(Line::Nothing);
    }
    let mut words = words::split(line)?;
    // Pasted from elsewhere, a command still begins with the program's name.
    if words.first().is_some_and(|word| word == "kvcli") && words.len() > 1 {
        words.remove(0);
    }
    Ok(match words.first().and_then(|word| word.to_str()) {
        None if words.is_empty() => Line::Nothing,
        Some("exit" | "quit") if words.len() == 1 => Line::Exit,
        // `help`, and `help put`
        Some("help") => {
            words.remove(0);
            words.push("--help".into());
            Line::Command(words)
        }
        _ => Line::Command(words),
    })
}

/// `$XDG_STATE_HOME/kvcli/history`, its directory made.
fn history_file() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    let dir = state.join("kvcli");
    std::fs::create_dir_all(&dir).ok()?;
    Some(dir.join("history"))
}

/// Completes commands and their options.
struct Words;

impl Helper for Words {}
impl Highlighter for Words {}
impl Validator for Words {}

impl Hinter for Words {
    type Hint = String;
}

impl Completer for Words {
    type Candidate = String;

    fn complete(&self, line: &str, position: usize, _: &rustyline::Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(candidates(&line[..position]))
    }
}

/// Where the word before the cursor begins, and what it could become.
fn candidates(before: &str) -> (usize, Vec<String>) {
    let begin = before.rfind(char::is_whitespace).map_or(0, |blank| blank + 1);
    let (earlier, word) = before.split_at(begin);
    let all = Cli::command();
    let mut known: Vec<String> = match earlier.split_whitespace().find(|word| *word != "kvcli" && !word.starts_with('-')) {
        None if word.starts_with('-') => options(&all),
        None => {
            let names = all.get_subcommands().map(|command| command.get_name().to_owned()).filter(|name| name != "shell" && name != "demo");
            names.chain(["exit", "help"].map(str::to_owned)).collect()
        }
        Some("help") => all.get_subcommands().map(|command| command.get_name().to_owned()).collect(),
        Some(_) if !word.starts_with('-') => Vec::new(), // keys and values are the user's
        Some(name) => {
            let own = all.find_subcommand(name).map(options).unwrap_or_default();
            options(&all).into_iter().chain(own).collect()
        }
    };
    known.retain(|candidate| candidate.starts_with(word) && candidate != word);
    known.sort();
    // What can only be one word is that word, and the next begins.
    if let [only] = known.as_mut_slice() {
        only.push(' ');
    }
    (begin, known)
}

fn options(command: &clap::Command) -> Vec<String> {
    command.get_arguments().filter_map(|argument| Some(format!("--{}", argument.get_long()?))).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    fn command(line: &str) -> Vec<String> {
        match parse(line.as_bytes()) {
            Ok(Line::Command(words)) => words.into_iter().map(|word| String::from_utf8(word.into_vec()).unwrap()).collect(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_line_is_a_command_with_or_without_the_name_of_the_program() {
        assert_eq!(command("put k 'a  b' \"c\"\n"), ["put", "k", "a  b", "c"]);
        assert_eq!(command("  kvcli get k"), ["get", "k"]);
        assert_eq!(command("kvcli"), ["kvcli"], "no command: an error that says so");
        assert_eq!(command("put k '#'"), ["put", "k", "#"]);
        assert_eq!(command("help put"), ["put", "--help"]);
    }

    #[test]
    fn some_lines_are_nothing_and_some_the_end() {
        for line in ["", "   \t\n", "# put k v", "  #"] {
            assert!(matches!(parse(line.as_bytes()), Ok(Line::Nothing)), "{line:?}");
        }
        assert!(matches!(parse(b"exit\n"), Ok(Line::Exit)));
        assert!(parse(b"put k 'v").is_err());
    }

    #[test]
    fn commands_are_completed_and_behind_them_their_options() {
        let complete = |before: &str| {
            let (begin, found) = candidates(before);
            found.iter().map(|word| format!("{}{word}", &before[..begin])).collect::<Vec<_>>()
        };
        assert_eq!(complete("appe"), ["append "]);
        assert_eq!(complete("kvcli st"), ["kvcli status "]);
        assert_eq!(complete("delete --mu"), ["delete --must-exist "]);
        assert_eq!(complete("get --ti"), ["get --timeout "]);
        assert_eq!(complete("help appe"), ["help append "]);
        assert_eq!(complete("put k"), [""; 0], "keys are the user's");
        let all = complete("");
        assert!(all.contains(&"put".into()) && all.contains(&"exit".into()) && !all.contains(&"shell".into()), "{all:?}");
    }
}
