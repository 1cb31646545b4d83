//! Where a value comes from: the command line, a file, or standard input. Never more of it than can be stored.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use anyhow::Context;
use wire::limits::VALUE_LEN_MAX;

use crate::cli::Write;
use crate::failure::Failure;
use crate::quote::{escape, quote};

/// Longest value from a pipe that is repeated in a command that we print.
const REPEATED_LEN_MAX: usize = 1 << 10;

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// These bytes.
    Literal(Vec<u8>),
    /// Standard input, all of it.
    Stdin,
    /// This file, all of it.
    File(PathBuf),
}

impl Source {
    pub(crate) fn of(write: &Write) -> Source {
        match (&write.value, &write.file) {
            (_, Some(file)) => Source::File(file.clone()),
            (Some(value), None) if write.literal || value != "-" => Source::Literal(value.clone().into_vec()),
            (Some(_) | None, None) => Source::Stdin,
        }
    }

    /// The bytes; or, of a value that is too long, one byte more than may be stored: reading on would only cost memory.
    pub(crate) fn read(&self) -> Result<Vec<u8>, Failure> {
        match self {
            Source::Literal(bytes) => Ok(bytes.clone()),
            Source::Stdin => {
                let stdin = io::stdin().lock();
                if stdin.is_terminal() && io::stderr().is_terminal() {
                    eprintln!("the value, then Ctrl-D:");
                }
                bounded(stdin).context("cannot read standard input").map_err(Failure::Local)
            }
            Source::File(path) => {
                let cannot = || format!("cannot read {}", escape(path.as_os_str().as_bytes()));
                File::open(path).and_then(bounded).with_context(cannot).map_err(Failure::Local)
            }
        }
    }

    /// The arguments that say the same again, with what was read.
    pub(crate) fn repeat(&self, key: &OsStr, value: &[u8]) -> String {
        let key_text = quote(key.as_bytes());
        let dashes = |text: &[u8]| text.first() == Some(&b'-');
        let behind = if dashes(key.as_bytes()) { "-- " } else { "" };
        match self {
            Source::File(path) => format!("--file {} {behind}{key_text}", quote(path.as_os_str().as_bytes())),
            Source::Stdin if value.len() > REPEATED_LEN_MAX || value.contains(&0) => {
                format!("{behind}{key_text} # with the same standard input")
            }
            Source::Literal(_) | Source::Stdin => {
                let literal = if value == b"-" { "--literal " } else { "" };
                let behind = if dashes(key.as_bytes()) || dashes(value) { "-- " } else { "" };
                format!("{literal}{behind}{key_text} {}", quote(value))
            }
        }
    }
}

fn bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(VALUE_LEN_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn write(value: Option<&str>, literal: bool) -> Write {
        Write { key: "k".into(), value: value.map(OsString::from), file: None, literal }
    }

    #[test]
    fn a_value_is_literal_unless_it_is_a_dash() {
        assert_eq!(Source::of(&write(Some("-1"), false)), Source::Literal(b"-1".to_vec()));
        assert_eq!(Source::of(&write(Some(""), false)), Source::Literal(Vec::new()));
        assert_eq!(Source::of(&write(Some("-"), false)), Source::Stdin);
        assert_eq!(Source::of(&write(None, false)), Source::Stdin);
        assert_eq!(Source::of(&write(Some("-"), true)), Source::Literal(b"-".to_vec()));
    }

    #[test]
    fn no_more_is_read_than_shows_that_it_is_too_long() {
        for (len, read_len) in [(0, 0), (VALUE_LEN_MAX, VALUE_LEN_MAX), (VALUE_LEN_MAX + 1, VALUE_LEN_MAX + 1)] {
            assert_eq!(bounded(&vec![7; len][..]).unwrap().len(), read_len);
        }
        assert_eq!(bounded(io::repeat(7)).unwrap().len(), VALUE_LEN_MAX + 1);
    }

    #[test]
    fn the_command_that_is_repeated_stores_the_same() {
        let literal = |value: &str| Source::Literal(value.into()).repeat(OsStr::new("k"), value.as_bytes());
        assert_eq!(literal("v"), "k v");
        assert_eq!(literal("two words"), "k 'two words'");
        assert_eq!(literal("-o"), "-- k -o");
        assert_eq!(literal("-"), "--literal -- k -");
        assert_eq!(Source::Stdin.repeat(OsStr::new("-k"), b"a\n"), r"-- -k $'a\n'");
        assert_eq!(Source::Stdin.repeat(OsStr::new("k"), &[0]), "k # with the same standard input");
        assert_eq!(Source::File("a b".into()).repeat(OsStr::new("k"), b"v"), "--file 'a b' k");
    }
}
