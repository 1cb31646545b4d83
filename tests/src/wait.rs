//! Waiting for conditions. A limit is generous: it decides how long a failure takes, never whether a slow machine fails.

use std::time::{Duration, Instant};

/// Long enough for anything that needs an election, a restart or a reconnection, on a machine that is busy compiling and whose disk takes
/// many seconds for one sync.
pub const PATIENCE: Duration = Duration::from_secs(100);

/// Waits until the condition holds; panics with `what` and how far it got when `limit` has passed.
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(what, limit, || condition().then_some(()).ok_or("it does not hold"));
}

/// Waits until there is a value; the error says what is still missing, for the message when `limit` has passed.
pub fn wait_for<T, E: std::fmt::Display>(what: &str, limit: Duration, mut attempt: impl FnMut() -> Result<T, E>) -> T {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(missing) if start.elapsed() >= limit => panic!("waited {limit:?} until {what}: {missing}"),
            // sleeps because nobody tells us when another process has changed
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Lets real time pass, for the few tests that are about it: a pause of a process, the length of a load.
pub fn let_pass(time: Duration) {
    // sleeps because the passing of time is the input
    std::thread::sleep(time);
}
