//! What holds for the whole run: flag, else environment, else default.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::time::Duration;

use clap::ValueEnum;
use kvcli::{DEFAULT_TIMEOUT, Purpose, Token, parse_endpoints};

use crate::cli::{Command, Global, Mode, parse_timeout};
use crate::failure::Failure;
use crate::lending::Clerks;

const DEFAULT_ENDPOINTS: &str = "127.0.0.1:7117";
const DEFAULT_WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// What holds for the whole run.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) endpoints: Vec<String>,
    /// Nobody said where: an error must say how to.
    pub(crate) endpoints_are_default: bool,
    /// As given by flag, to be repeated in a command that we print.
    pub(crate) endpoints_flag: Option<String>,
    pub(crate) timeout: Duration,
    pub(crate) mode: Mode,
    pub(crate) resume: Option<Token>,
    /// Where the clerk comes from, and goes afterwards.
    pub(crate) clerks: Clerks,
}

impl Settings {
    /// Refuses what cannot be done, before anything is.
    pub(crate) fn new(global: Global, command: &Command, env: impl Fn(&str) -> Option<OsString>) -> Result<Settings, Failure> {
        let endpoints = given(&global.endpoints, "--endpoints", "KVCLI_ENDPOINTS", &env)?;
        let timeout = given(&global.timeout, "--timeout", "KVCLI_TIMEOUT", &env)?;
        let output = given(&global.output, "--output", "KVCLI_OUTPUT", &env)?;
        let default_timeout = if matches!(command, Command::Wait { .. }) { DEFAULT_WAIT_TIMEOUT } else { DEFAULT_TIMEOUT };
        let mode = match output {
            Some(given) => {
                let mode = given.parse(|text| Mode::from_str(text, false).map_err(|_| unknown_mode(text)))?;
                if !command.takes(mode) {
                    return Err(Failure::Usage(format!("{}: {} has no {} output", given.origin, command.name(), given.text)));
                }
                mode
            }
            None => default_mode(command, std::io::stdout().is_terminal()),
        };
        check_resume(global.resume.as_ref(), command)?;
        Ok(Settings {
            endpoints_are_default: endpoints.is_none(),
            endpoints: match endpoints {
                Some(given) => given.parse(|text| parse_endpoints(text).map_err(|error| error.to_string()))?,
                None => vec![DEFAULT_ENDPOINTS.into()],
            },
            endpoints_flag: global.endpoints,
            timeout: timeout.map(|given| given.parse(parse_timeout)).transpose()?.unwrap_or(default_timeout),
            mode,
            resume: global.resume,
            clerks: Clerks::default(),
        })
    }
}

/// A token goes on with what it was printed for.
fn check_resume(token: Option<&Token>, command: &Command) -> Result<(), Failure> {
    let is_load = matches!(command, Command::Load(_));
    let name = command.name();
    let refuse = |why: String| Err(Failure::Usage(format!("--resume: {why}")));
    match token.map(|token| token.purpose) {
        Some(Purpose::Write) if is_load => refuse("this token settles one write, and lets no load go on".into()),
        Some(Purpose::Load) if command.is_write() => refuse(format!("this token lets a load go on, and settles no {name}")),
        Some(_) if !is_load && !command.is_write() => refuse(format!("it goes on with put, append, delete, cas or load, not with {name}")),
        _ => Ok(()),
    }
}

/// A setting, and where it comes from: what an error must name.
struct Given {
    text: String,
    origin: &'static str,
}

impl Given {
    fn parse<T>(&self, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, Failure> {
        parse(&self.text).map_err(|why| Failure::Usage(format!("{}: {why}", self.origin)))
    }
}

fn given(
    flag: &Option<String>,
    flag_name: &'static str,
    variable: &'static str,
    env: &impl Fn(&str) -> Option<OsString>,
) -> Result<Option<Given>, Failure> {
    if let Some(text) = flag {
        return Ok(Some(Given { text: text.clone(), origin: flag_name }));
    }
    // `KVCLI_TIMEOUT= kvcli ...` is how a shell unsets for one command.
    match env(variable).filter(|text| !text.is_empty()).map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(Given { text, origin: variable })),
        Some(Err(text)) => Err(Failure::Usage(format!("{variable}: {} is not UTF-8", text.display()))),
    }
}

fn unknown_mode(text: &str) -> String {
    format!("{text:?} is no output mode (expected table, plain, raw, json or jsonl)")
}

fn default_mode(command: &Command, on_terminal: bool) -> Mode {
    match command {
        _ if on_terminal => Mode::Table,
        Command::Get { .. } => Mode::Raw,
        _ => Mode::Plain,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn settings(args: &[&str], env: &[(&str, &str)]) -> Result<Settings, Failure> {
        let cli = Cli::try_parse_from([&["kvcli"], args].concat()).unwrap();
        let look_up = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
        Settings::new(cli.global, &cli.command, look_up)
    }

    #[test]
    fn a_flag_beats_the_environment_and_that_beats_the_default() {
        let env = [("KVCLI_ENDPOINTS", "a,b:1"), ("KVCLI_TIMEOUT", "2s"), ("KVCLI_OUTPUT", "json")];
        let by_default = settings(&["get", "k"], &[]).unwrap();
        assert!(by_default.endpoints_are_default);
        assert_eq!((by_default.endpoints, by_default.timeout), (vec!["127.0.0.1:7117".into()], Duration::from_secs(5)));
        let by_env = settings(&["get", "k"], &env).unwrap();
        assert_eq!(
            (by_env.endpoints, by_env.timeout, by_env.mode),
            (vec!["a:7117".into(), "b:1".into()], Duration::from_secs(2), Mode::Json)
        );
        let by_flag = settings(&["get", "k", "--endpoints", "[::1]", "--timeout", "1s", "-o", "plain"], &env).unwrap();
        assert_eq!((by_flag.endpoints, by_flag.timeout, by_flag.mode), (vec!["[::1]:7117".into()], Duration::from_secs(1), Mode::Plain));
    }

    #[test]
    fn an_empty_variable_is_none() {
        let settings = settings(&["status"], &[("KVCLI_ENDPOINTS", ""), ("KVCLI_TIMEOUT", ""), ("KVCLI_OUTPUT", "")]).unwrap();
        assert!(settings.endpoints_are_default);
    }

    #[test]
    fn waiting_has_more_patience() {
        assert_eq!(settings(&["wait"], &[]).unwrap().timeout, Duration::from_secs(30));
        assert_eq!(settings(&["wait", "--timeout", "2s"], &[]).unwrap().timeout, Duration::from_secs(2));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_origin() {
        for (origin, text) in [
            ("--endpoints", "a:x"),
            ("KVCLI_ENDPOINTS", "a:0"),
            ("--timeout", "5"),
            ("KVCLI_TIMEOUT", "soon"),
            ("--output", "xml"),
            ("KVCLI_OUTPUT", "raw"),
        ] {
            let result =
                if origin.starts_with('-') { settings(&["status", origin, text], &[]) } else { settings(&["status"], &[(origin, text)]) };
            match result {
                Err(Failure::Usage(message)) => assert!(message.contains(origin) && message.contains(text), "{message}"),
                other => panic!("{origin} {text}: {other:?}"),
            }
        }
    }

    #[test]
    fn every_command_takes_every_mode_or_refuses_it_first() {
        let commands: [(&[&str], &str); 13] = [
            (&["put", "k", "v"], "table plain json jsonl"),
            (&["append", "k", "v"], "table plain json jsonl"),
            (&["delete", "k"], "table plain json jsonl"),
            (&["cas", "--absent", "k", "v"], "table plain json jsonl"),
            (&["get", "k"], "table plain raw json jsonl"),
            (&["scan"], "table plain json jsonl"),
            (&["dump"], "table plain json jsonl"),
            (&["load"], "table plain json jsonl"),
            (&["status"], "table plain json jsonl"),
            (&["wait"], "table plain json jsonl"),
            (&["bench"], "table plain json jsonl"),
            (&["shell"], "table plain raw json jsonl"),
            (&["demo"], "table plain"),
        ];
        for (args, taken) in commands {
            for mode in ["table", "plain", "raw", "json", "jsonl"] {
                let result = settings(&[args, &["-o", mode]].concat(), &[]);
                match taken.split(' ').any(|one| one == mode) {
                    true => assert!(result.is_ok(), "{args:?} {mode}"),
                    false => assert!(matches!(result, Err(Failure::Usage(_))), "{args:?} {mode}"),
                }
            }
        }
    }

    #[test]
    fn a_token_goes_on_with_what_it_is_for() {
        let text = |purpose| {
            let (cluster_id, session, birth_index) = (raft::ClusterId(1), wire::SessionId(2), raft::Index(3));
            Token { purpose, cluster_id, session, birth_index, seq: 1, op_digest: 4 }.to_string()
        };
        let (write, load) = (text(Purpose::Write), text(Purpose::Load));
        let resume = |token: &str, command: &[&str]| settings(&[command, &["--resume", token]].concat(), &[]);
        assert_eq!(resume(&write, &["put", "k", "v"]).unwrap().resume, Some(write.parse().unwrap()));
        assert_eq!(resume(&load, &["load", "f"]).unwrap().resume, Some(load.parse().unwrap()));
        for (token, command, why) in [
            (&write, &["load", "f"][..], "settles one write"),
            (&load, &["append", "k", "v"], "lets a load go on, and settles no append"),
            (&write, &["get", "k"], "not with get"),
            (&load, &["status"], "not with status"),
            (&write, &["wait"], "not with wait"),
            (&load, &["demo"], "not with demo"),
        ] {
            match resume(token, command) {
                Err(Failure::Usage(message)) => assert!(message.contains(why), "{message}"),
                other => panic!("{command:?}: {other:?}"),
            }
        }
    }
}
