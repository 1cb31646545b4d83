//! The lines of a file or a pipe, read and parsed by a thread of their own: whoever writes them to the cluster must never wait for the
//! next one while an answer is due.

use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::lines::{self, LINE_LEN_MAX, Pair};

const READ_LEN: usize = 256 << 10;
/// Read ahead, and not asked for yet: enough to keep both sides busy.
const BATCHES_MAX: usize = 2;

/// A line, counted from 1, and what is wrong with it if it is no pair.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Line {
    pub(crate) number: u64,
    pub(crate) pair: Result<Pair, String>,
}

/// What comes from the thread.
#[derive(Debug)]
pub(crate) enum Fed {
    Lines(Vec<Line>),
    /// It cannot be read any further. The last.
    Failed(io::Error),
    /// There were so many lines. The last.
    End(u64),
}

/// The reading side of the thread.
pub(crate) struct Feed {
    fed: Receiver<Fed>,
    /// Rings when there is more.
    pub(crate) bell: Arc<EventFd>,
}

impl Feed {
    /// Begins to read. The first lines are counted, and left out.
    pub(crate) fn new(input: impl Read + Send + 'static, from_line: u64) -> io::Result<Feed> {
        let bell = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?);
        let (sender, fed) = sync_channel(BATCHES_MAX);
        let ring = Arc::clone(&bell);
        std::thread::Builder::new().name("lines".into()).spawn(move || {
            read(input, from_line, |batch| {
                let wanted = sender.send(batch).is_ok();
                let _ = ring.write(1); // full of rings: it rings
                wanted
            });
        })?;
        Ok(Feed { fed, bell })
    }

    /// What has come, without waiting. Listen for the bell only when there was nothing.
    pub(crate) fn next(&self) -> Option<Fed> {
        let _ = self.bell.read(); // silent: nothing has come
        match self.fed.try_recv() {
            Ok(fed) => Some(fed),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Fed::Failed(ErrorKind::BrokenPipe.into())), // it ended without a word
        }
    }
}

/// Whatever is there goes on at once: lines may come from a person, one by one.
fn read(mut input: impl Read, from_line: u64, mut give: impl FnMut(Fed) -> bool) {
    let mut chunk = vec![0; READ_LEN];
    let mut line = Vec::new();
    let mut number = 1;
    loop {
        let count = match input.read(&mut chunk) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => {
                give(Fed::Failed(error));
                return;
            }
        };
        let mut lines = Vec::new();
        let mut rest = &chunk[..count];
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            line.extend_from_slice(&rest[..at]);
            rest = &rest[at + 1..];
            if number >= from_line {
                lines.push(Line { number, pair: lines::parse(&line) });
            }
            line.clear();
            number += 1;
        }
        line.extend_from_slice(rest);
        if number < from_line {
            line.truncate(1); // enough to know that there is one
        } else if line.len() > LINE_LEN_MAX {
            lines.push(Line { number, pair: Err("too long to be a pair".into()) });
            give(Fed::Lines(lines));
            return;
        }
        if count == 0 {
            if !line.is_empty() {
                if number >= from_line {
                    lines.push(Line { number, pair: lines::parse(&line) });
                }
                number += 1;
            }
            let _ = give(Fed::Lines(lines)) && give(Fed::End(number - 1));
            return;
        }
        if !lines.is_empty() && !give(Fed::Lines(lines)) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(3);
            out[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    /// Every line, its number in front, and how it ended.
    fn all(input: impl Read, from_line: u64) -> Vec<String> {
        let mut all = Vec::new();
        read(input, from_line, |fed| {
            match fed {
                Fed::Lines(lines) => all.extend(lines.into_iter().map(|Line { number, pair }| match pair {
                    Ok(Pair { key, value }) => {
                        format!("{number} {}={}", String::from_utf8_lossy(&key), String::from_utf8_lossy(&value))
                    }
                    Err(why) => format!("{number} {why}"),
                })),
                Fed::End(count) => all.push(format!("end {count}")),
                Fed::Failed(error) => panic!("{error}"),
            }
            true
        });
        all
    }

    #[test]
    fn lines_are_counted_from_one_and_the_last_needs_no_line_feed() {
        for input in [&b"a\t1\nlonger\tvalue\r\nc\t\n"[..], b"a\t1\nlonger\tvalue\r\nc\t"] {
            let expected = ["1 a=1", "2 longer=value\r", "3 c=", "end 3"];
            assert_eq!(all(Trickle(input), 1), expected);
            assert_eq!(all(input, 1), expected);
        }
        assert_eq!(all(&b""[..], 1), ["end 0"]);
        assert_eq!(all(&b"\n"[..], 1), ["1 no tab between key and value", "end 1"]);
    }

    #[test]
    fn what_is_left_out_is_counted_and_not_judged() {
        let input = b"not a pair\na\t1\nb\t2";
        assert_eq!(all(Trickle(input), 3), ["3 b=2", "end 3"]);
        assert_eq!(all(Trickle(input), 4), ["end 3"]);
        assert_eq!(all(Trickle(b"not a pair"), 9), ["end 1"]);
    }

    #[test]
    fn a_line_without_an_end_costs_bounded_memory() {
        assert_eq!(all(io::repeat(b'x'), 1), ["1 too long to be a pair"]);
    }

    #[test]
    fn the_bell_rings_for_every_batch_and_the_end_is_the_last() {
        let feed = Feed::new(&b"a\t1\n"[..], 1).unwrap();
        let mut came = Vec::new();
        while came.len() < 3 {
            match feed.next() {
                Some(Fed::Lines(lines)) => came.push(format!("{} lines", lines.len())),
                Some(Fed::End(count)) => came.push(format!("end after {count}")),
                Some(Fed::Failed(error)) => panic!("{error}"),
                None => {
                    let mut wait = [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(&*feed.bell), nix::poll::PollFlags::POLLIN)];
                    nix::poll::poll(&mut wait, nix::poll::PollTimeout::NONE).unwrap();
                }
            }
        }
        assert_eq!(came, ["1 lines", "0 lines", "end after 1"]);
    }
}
