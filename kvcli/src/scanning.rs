//! Many keys, printed as they come: one point in time, however long it takes, in the memory of two pages.

use std::io;
use std::os::unix::ffi::OsStringExt;

use kvcli::{Answer, Ask, Clerk, ClerkError, Item, Page, Range, Scan};

use crate::cli::{Mode, ScanArgs};
use crate::commands::{clerk, plainly, say};
use crate::failure::Failure;
use crate::lines;
use crate::output::{self, Items};
use crate::quote::escape;
use crate::running::{self, Interrupts};
use crate::settings::Settings;

/// `kvcli scan`.
pub(crate) fn scan(args: ScanArgs, settings: &Settings) -> Result<(), Failure> {
    let mut items = Items::new(settings.mode, args.keys_only);
    stream(range(args), settings, |out, page| items.write(out, page)).map(|_| ())
}

/// `kvcli dump`. Its last line on standard error is the proof that nothing is missing.
pub(crate) fn dump(stale: bool, settings: &Settings) -> Result<(), Failure> {
    let mut items = Items::new(settings.mode, false);
    let dumped = stream(Range { stale, ..Range::default() }, settings, |out, page| match settings.mode {
        Mode::Plain | Mode::Raw => page.iter().try_for_each(|item| lines::write(out, item)),
        Mode::Table | Mode::Json | Mode::Jsonl => items.write(out, page),
    })?;
    Ok(output::dumped(&mut io::stderr(), settings.mode, dumped.position, dumped.count)?)
}

/// What the arguments allow, all together.
fn range(args: ScanArgs) -> Range {
    let bytes = |given: Option<std::ffi::OsString>| given.map(OsStringExt::into_vec);
    let Range { from, to, .. } = Range::prefix(bytes(args.prefix).unwrap_or_default());
    let to = match (to, bytes(args.to)) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    let from = from.max(bytes(args.from).unwrap_or_default());
    Range { from, to, limit: args.limit, keys_only: args.keys_only, stale: args.stale }
}

/// How a scan went that came to its end.
pub(crate) struct Streamed {
    pub(crate) position: raft::Index,
    pub(crate) count: u64,
}

/// Every page goes to standard output as soon as it is there. While it is written, the next is on its way.
pub(crate) fn stream(
    range: Range,
    settings: &Settings,
    mut write: impl FnMut(&mut Vec<u8>, &[Item]) -> io::Result<()>,
) -> Result<Streamed, Failure> {
    let stale = range.stale;
    let mut clerk = clerk(settings)?;
    let Answer::Page(first) = running::run(&mut clerk, Ask::Scan(range), settings, |_| String::new())? else {
        unreachable!("a scan is answered by a page")
    };
    if stale {
        output::age(&mut io::stderr(), settings.mode, first.position, first.age_ms)?;
    }
    let mut streamed = Streamed { position: first.position, count: 0 };
    let interrupts = Interrupts::catch()?;
    clerk.watch(interrupts.descriptor()).map_err(plainly)?;
    let printed = print(&mut clerk, first, &interrupts, |out, page| {
        streamed.count += page.len() as u64;
        write(out, page)
    });
    clerk.unwatch(interrupts.descriptor()).map_err(plainly)?;
    printed.map(|()| streamed)
}

fn print(
    clerk: &mut Clerk,
    first: Page,
    interrupts: &Interrupts,
    mut write: impl FnMut(&mut Vec<u8>, &[Item]) -> io::Result<()>,
) -> Result<(), Failure> {
    let (mut count, mut last_key) = (0, Vec::new());
    let mut scan = Scan::new(clerk, first).map_err(plainly)?;
    loop {
        let items = scan.next_items_unless(|| interrupts.came()).map_err(|error| cut_short(error, count, &last_key))?;
        let Some(items) = items else { return Err(Failure::Stopped) };
        let Some(last) = items.last() else { return Ok(()) };
        count += items.len();
        last_key.clone_from(&last.key);
        // Whoever reads us may take its time, and a person may have none.
        interrupts.let_through(|| say(|out| write(out, &items)))?;
    }
}

/// What is printed is good, as far as it goes; whoever reads it must not take it for the whole.
fn cut_short(error: ClerkError, count: usize, last_key: &[u8]) -> Failure {
    let hint = format!("the output ends early: {count} keys, the last is {}", escape(last_key));
    Failure::Clerk { error, finish: None, hint: Some(hint) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_asked_for_narrows_the_range() {
        let range = |prefix: Option<&str>, from: Option<&str>, to: Option<&str>| {
            let (prefix, from, to) = (prefix.map(Into::into), from.map(Into::into), to.map(Into::into));
            let range = super::range(ScanArgs { prefix, from, to, limit: None, keys_only: false, stale: false });
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            (text(range.from), range.to.map(text))
        };
        assert_eq!(range(None, None, None), (String::new(), None));
        assert_eq!(range(Some("b"), None, None), ("b".into(), Some("c".into())));
        assert_eq!(range(Some("b"), Some("bx"), Some("by")), ("bx".into(), Some("by".into())));
        assert_eq!(range(Some("b"), Some("a"), Some("d")), ("b".into(), Some("c".into())));
        assert_eq!(range(None, Some("a"), Some("d")), ("a".into(), Some("d".into())));
    }
}
