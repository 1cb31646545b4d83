//! `status --watch`: how the cluster is, again every second.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use kvcli::{Overview, Verdict};

use crate::cli::Mode;
use crate::failure::Failure;
use crate::lending::Lent;
use crate::output;
use crate::quote::escape;
use crate::running::Interrupts;
use crate::settings::Settings;

const EVERY: Duration = Duration::from_secs(1);

/// Until Ctrl-C. On a terminal one picture is drawn over the other; elsewhere they follow each other.
pub(crate) fn run(clerk: &mut Lent, settings: &Settings) -> Result<(), Failure> {
    let interrupts = Interrupts::catch()?;
    let mut stdout = io::stdout().lock();
    let in_place = settings.mode == Mode::Table && stdout.is_terminal();
    let mut first = true;
    loop {
        let overview = clerk.overview().map_err(|error| Failure::Clerk { error, finish: None, hint: None })?;
        let picture = picture(&overview, settings.mode)?;
        match (in_place, settings.mode) {
            (true, _) => stdout.write_all(&over_the_last(&picture, first))?,
            (false, Mode::Table | Mode::Plain | Mode::Raw) if !first => stdout.write_all(&[b"\n", &picture[..]].concat())?,
            (false, _) => stdout.write_all(&picture)?,
        }
        stdout.flush()?;
        first = false;
        if interrupts.within(EVERY)? {
            return Err(Failure::Stopped);
        }
    }
}

fn picture(overview: &Overview, mode: Mode) -> io::Result<Vec<u8>> {
    let mut picture = Vec::new();
    output::overview(&mut picture, mode, overview)?;
    if mode == Mode::Table && overview.verdict == Verdict::Unreachable {
        // Elsewhere an error says why; here none ends it.
        overview.tried().iter().try_for_each(|tried| writeln!(picture, "  {}", escape(tried.to_string().as_bytes())))?;
    }
    Ok(picture)
}

/// From the upper left corner; what is left of a longer line, or of a longer picture, is wiped. Nothing flickers.
fn over_the_last(picture: &[u8], first: bool) -> Vec<u8> {
    let mut bytes = if first { b"\x1b[2J\x1b[H".to_vec() } else { b"\x1b[H".to_vec() };
    for line in picture.split_inclusive(|byte| *byte == b'\n') {
        bytes.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        bytes.extend_from_slice(b"\x1b[K\n");
    }
    bytes.extend_from_slice(b"\x1b[J");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_covers_the_one_before() {
        assert_eq!(over_the_last(b"healthy\n\nn1\n", false), b"\x1b[Hhealthy\x1b[K\n\x1b[K\nn1\x1b[K\n\x1b[J");
        assert!(over_the_last(b"healthy\n", true).starts_with(b"\x1b[2J\x1b[Hhealthy"), "the first finds somebody else's");
    }
}
