//! Dumps beside a writer, each of them one point in time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kvcli::{Ask, Clerk, Options};

use crate::Cluster;
use crate::wait::PATIENCE;

/// So many keys, of which a writer always writes the same number to the first and then to the last.
pub struct Dumps {
    keys: usize,
}

impl Dumps {
    /// Puts the keys.
    pub fn of(cluster: &Cluster, keys: usize) -> Dumps {
        let dumps = Dumps { keys };
        let mut clerk = clerk(cluster);
        let value = |number| if number == 0 || number == keys - 1 { b"0".to_vec() } else { vec![b'v'; 80] };
        // A session has 64 calls under way; more only wait inside the clerk.
        let numbers: Vec<usize> = (0..keys).collect();
        for some in numbers.chunks(1000) {
            let put = |number: &usize| Ask::Put { key: dumps.key(*number), value: value(*number) };
            let calls: Vec<_> = some.iter().map(|number| clerk.submit(put(number), PATIENCE)).collect();
            calls.into_iter().for_each(|call| drop(clerk.wait(call).expect("a put is done")));
        }
        dumps
    }

    /// Dumps at least so often, and on while `more` says so, while the writer writes. Panics if one is not one point in time. How often.
    pub fn check_while(&self, cluster: &Cluster, at_least: usize, mut more: impl FnMut() -> bool) -> usize {
        let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
        let stop_writing = Stop(&stop); // also if this panics: the scope waits for the writer
        let seen = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut clerk = clerk(cluster);
                while !stop.load(Ordering::Relaxed) {
                    let number = (written.load(Ordering::Relaxed) + 1).to_string();
                    clerk.put(self.key(0), number.clone()).expect("a put is done");
                    clerk.put(self.key(self.keys - 1), number).expect("a put is done");
                    written.fetch_add(1, Ordering::Relaxed);
                }
            });
            let stop_writing = stop_writing;
            let mut seen = Vec::new();
            while seen.len() < at_least || more() {
                let dump = cluster.kvcli(["dump"]).expect_code(0).stdout;
                seen.push(self.first_of(&dump));
            }
            drop(stop_writing);
            writer.join().expect("the writer");
            seen
        });
        let written = written.into_inner();
        assert!(seen.is_sorted() && seen[0] < written, "later dumps see later writes, and the writer never stopped: {seen:?} of {written}");
        seen.len()
    }

    /// The number in the first key, in a dump where all is well.
    fn first_of(&self, dump: &[u8]) -> u64 {
        // Others may write keys of their own beside, and any bytes to them.
        let lines = dump.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"key "));
        let lines: Vec<&str> = lines.map(|line| std::str::from_utf8(line).expect("text")).collect();
        assert_eq!(lines.len(), self.keys);
        let number = |line: &str| line.split_once('\t').and_then(|(_, value)| value.parse::<u64>().ok()).expect("a number");
        let (first, last) = (number(lines[0]), number(lines[self.keys - 1]));
        assert!(last <= first && first <= last + 1, "first {first}, last {last}");
        first
    }

    fn key(&self, number: usize) -> Vec<u8> {
        format!("key {number:08}").into_bytes()
    }
}

/// Sets it when dropped.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn clerk(cluster: &Cluster) -> Clerk {
    let options = Options { timeout: PATIENCE, ..Options::default() };
    Clerk::new(cluster.endpoints().split(','), options).expect("a clerk")
}
