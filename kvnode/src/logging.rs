//! Lines for people, on stderr only, and never in the way: they go to a bounded buffer, and the loop hands stderr what it takes without
//! blocking. A reader that has stopped costs lines, with their count, and never a heartbeat.
//!
//! Every line says when, how bad, and who speaks: `2026-11-21T03:19:25.123456Z  INFO n2 follower t3: ...`.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

/// Bytes of lines that wait for stderr: an hour of a healthy node, a second of a very unhappy one.
const BUFFER_BYTES_MAX: usize = 256 << 10;

/// What a pipe that polls as writable takes without blocking (`PIPE_BUF`).
const WRITE_BYTES_MAX: usize = 4096;

/// Handle of the loop.
#[derive(Clone)]
pub(crate) struct Log {
    buffer: Arc<Mutex<Buffer>>,
    who: Arc<Mutex<String>>,
}

#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    dropped: u64,
}

impl Log {
    /// Starts logging, filtered as `KVNODE_LOG` says ("info" unless set). Call once.
    pub(crate) fn start(who: &str) -> Result<Log, String> {
        let log = Log { buffer: Arc::default(), who: Arc::new(Mutex::new(who.to_owned())) };
        let filter = match std::env::var("KVNODE_LOG") {
            Ok(directives) => EnvFilter::try_new(&directives).map_err(|error| format!("KVNODE_LOG={directives:?}: {error}"))?,
            Err(_) => EnvFilter::new("info"),
        };
        let lines = Lines { who: Arc::clone(&log.who) };
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(log.clone()).event_format(lines).finish();
        tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())?;
        Ok(log)
    }

    /// Who speaks from here on, as in `n2 follower t3`.
    pub(crate) fn set_who(&self, who: String) {
        *self.who.lock().unwrap_or_else(PoisonError::into_inner) = who;
    }

    /// Hands stderr what it takes now.
    pub(crate) fn flush(&self) {
        let mut buffer = self.buffer();
        while !buffer.bytes.is_empty() && stderr_takes_bytes(PollTimeout::ZERO) {
            buffer.write_some();
        }
        if buffer.bytes.is_empty() && buffer.dropped > 0 {
            let line = format!("{} lines were dropped: stderr was full\n", std::mem::take(&mut buffer.dropped));
            buffer.bytes.extend_from_slice(line.as_bytes());
        }
    }

    /// The last lines of a process: waits a little for a slow reader.
    pub(crate) fn finish(&self) {
        let start = Instant::now();
        self.flush();
        let mut buffer = self.buffer();
        while !buffer.bytes.is_empty() && start.elapsed() < Duration::from_millis(200) {
            if stderr_takes_bytes(PollTimeout::from(20_u8)) {
                buffer.write_some();
            }
        }
    }

    fn buffer(&self) -> std::sync::MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    /// A line, whole or not at all.
    fn add(&mut self, line: &[u8]) {
        if self.bytes.len() + line.len() > BUFFER_BYTES_MAX {
            self.dropped += 1;
        } else {
            self.bytes.extend_from_slice(line);
        }
    }

    /// One write. Lines are for whoever listens: if nobody does (a closed pipe), they are gone.
    fn write_some(&mut self) {
        let len = self.bytes.len().min(WRITE_BYTES_MAX);
        match io::stderr().write(&self.bytes[..len]) {
            Ok(count) => drop(self.bytes.drain(..count)),
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(_) => self.bytes.clear(),
        }
    }
}

/// Asked instead of making stderr non-blocking: that flag would be shared with whoever gave us the descriptor, a shell for example.
fn stderr_takes_bytes(timeout: PollTimeout) -> bool {
    use std::os::fd::AsFd;
    let stderr = io::stderr();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    nix::poll::poll(&mut fds, timeout).is_ok_and(|ready| ready > 0)
}

/// One line on its way into the buffer.
pub(crate) struct Line<'a> {
    log: &'a Log,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.log.buffer().add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { log: self }
    }
}

struct Lines {
    who: Arc<Mutex<String>>,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        SystemTime.format_time(&mut writer)?;
        let who = self.who.lock().unwrap_or_else(PoisonError::into_inner);
        write!(writer, " {:>5} {who}: ", event.metadata().level())?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_buffer_drops_whole_lines_and_counts_them() {
        let mut buffer = Buffer::default();
        let line = vec![b'x'; 1000];
        for _ in 0..300 {
            buffer.add(&line);
        }
        assert!(buffer.bytes.len() <= BUFFER_BYTES_MAX);
        assert_eq!(buffer.bytes.len() / 1000 + usize::try_from(buffer.dropped).unwrap(), 300);
        assert_eq!(buffer.bytes.len() % 1000, 0);
        assert!(buffer.dropped > 0);
    }
}
