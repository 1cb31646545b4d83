//! Work on several threads, whose results come in the order of the work: a range of seeds fails at its first failing seed, however
//! many cores it runs on.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// How often whoever waits for a result is asked whether to go on.
const LOOK_UP_EVERY: Duration = Duration::from_millis(50);

/// Does `work` for every item on `threads` threads and hands the results to `take`, in order; and `None` now and then. When that breaks
/// off, nothing new is begun. No item is asked for before a thread is free for it.
pub(crate) fn in_order<I: Send, T: Send>(
    threads: usize,
    items: impl Iterator<Item = I> + Send,
    work: impl Fn(I) -> T + Sync,
    mut take: impl FnMut(Option<T>) -> ControlFlow<()>,
) {
    let stopped = AtomicBool::new(false);
    let items = Mutex::new(items.enumerate());
    let (send, results) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            let send = send.clone();
            scope.spawn(|| {
                let send = send;
                while !stopped.load(Ordering::Relaxed) {
                    // A thread that panics ends the process: no lock is ever poisoned.
                    let Some((number, item)) = items.lock().expect("nobody panics with it").next() else { break };
                    if send.send((number, work(item))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(send);
        let (mut early, mut next) = (BTreeMap::new(), 0);
        loop {
            let received = match results.recv_timeout(LOOK_UP_EVERY) {
                Ok((number, result)) => {
                    early.insert(number, result);
                    true
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut went_on = if received { ControlFlow::Continue(()) } else { take(None) };
            while let (ControlFlow::Continue(()), Some(result)) = (went_on, early.remove(&next)) {
                next += 1;
                went_on = take(Some(result));
            }
            if went_on.is_break() {
                break;
            }
        }
        stopped.store(true, Ordering::Relaxed);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_from_any_number_of_threads() {
        for threads in [0, 1, 2, 7] {
            let mut taken = Vec::new();
            let slow_first = |number: u64| {
                let rounds = if number.is_multiple_of(3) { 200_000 } else { 1 };
                (number, (0..rounds).fold(number, |sum, round| std::hint::black_box(sum ^ round)))
            };
            in_order(threads, 0..100, slow_first, |result| {
                taken.extend(result.map(|(number, _)| number));
                ControlFlow::Continue(())
            });
            assert_eq!(taken, (0..100).collect::<Vec<_>>());
        }
    }

    #[test]
    fn after_a_break_endless_work_ends() {
        let mut taken = Vec::new();
        in_order(
            2,
            0..,
            |number: u64| number,
            |result| {
                taken.extend(result);
                if taken.len() < 10 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            },
        );
        assert_eq!(taken, (0..10).collect::<Vec<_>>());
    }
}
