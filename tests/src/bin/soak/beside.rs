//! What one client waits for while something else happens, and what the disk alone takes at the same moments: a put is as slow as the
//! syncs that it waits for, and on a common machine some of these are slow whatever a node does.

use std::fmt;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tests::Cluster;
use tests::client::Client;
use tests::wait::{PATIENCE, let_pass};

/// Bytes of one raw write: a batch of some 25 puts.
const WRITE_LEN: usize = 4096;
/// Bytes of the file that raw writes go round in. As in a log, they are on the disk before: a sync has no new length to write.
const FILE_LEN: usize = 4 << 20;
/// From the end of one to the next. The raw ones are few, so as not to be a load themselves.
const PUT_PAUSE: Duration = Duration::from_millis(1);
const SYNC_PAUSE: Duration = Duration::from_millis(5);

/// When something was begun, and how long it took.
#[derive(Clone, Copy)]
struct Timed {
    start: Instant,
    took: Duration,
}

/// All that was done beside something else; in the order in which it was.
pub(crate) struct Beside {
    puts: Vec<Timed>,
    syncs: Vec<Timed>,
}

/// Does something while one client puts one value after the other, and somebody who knows nothing of any node writes and syncs a file of
/// his own on the same disk.
pub(crate) fn beside<T>(cluster: &Cluster, act: impl FnOnce() -> T) -> (T, Beside) {
    let stop = AtomicBool::new(false);
    let (endpoints, file) = (cluster.endpoints(), cluster.path().join("raw"));
    std::thread::scope(|scope| {
        let puts = scope.spawn(|| {
            let mut client = Client::new(&endpoints, PATIENCE);
            // The first one looks for the leader.
            client.put("watched", "0").expect("a put");
            repeat(&stop, PUT_PAUSE, || {
                client.put("watched", "1").expect("a put");
            })
        });
        let syncs = scope.spawn(|| raw_syncs(&stop, &file));
        let done = act();
        stop.store(true, Ordering::Relaxed);
        (done, Beside { puts: puts.join().expect("the writer"), syncs: syncs.join().expect("the raw writer") })
    })
}

fn raw_syncs(stop: &AtomicBool, path: &Path) -> Vec<Timed> {
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(path).expect("a file");
    file.write_all_at(&vec![0; FILE_LEN], 0).and_then(|()| file.sync_all()).expect("a disk");
    let mut at = 0;
    let syncs = repeat(stop, SYNC_PAUSE, || {
        file.write_all_at(&[7; WRITE_LEN], at).and_then(|()| file.sync_data()).expect("a disk");
        at = (at + WRITE_LEN as u64) % FILE_LEN as u64;
    });
    std::fs::remove_file(path).expect("it was created");
    syncs
}

fn repeat(stop: &AtomicBool, pause: Duration, mut act: impl FnMut()) -> Vec<Timed> {
    let mut all = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        act();
        all.push(Timed { start, took: start.elapsed() });
        let_pass(pause);
    }
    all
}

impl Beside {
    /// How long the longest put took, milliseconds.
    pub(crate) fn longest_put_ms(&self) -> f64 {
        longest(&self.puts).map_or(0.0, |put| ms(put.took))
    }

    /// How long the longest raw sync took, milliseconds.
    pub(crate) fn longest_sync_ms(&self) -> f64 {
        longest(&self.syncs).map_or(0.0, |sync| ms(sync.took))
    }

    /// The longest of the raw syncs that were under way at some moment of the longest put.
    fn sync_beside_longest_put(&self) -> Option<Timed> {
        let put = longest(&self.puts)?;
        let meets = |sync: &&Timed| sync.start < put.start + put.took && put.start < sync.start + sync.took;
        self.syncs.iter().filter(meets).max_by_key(|sync| sync.took).copied()
    }
}

/// `longest put 17.0 ms, p99 3.4 of 3508; raw sync 9.1 ms, p99 1.4 of 901, beside that put 9.1 ms`
impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (puts, syncs) = (Summary::of(&self.puts), Summary::of(&self.syncs));
        write!(f, "longest put {puts}; raw sync {syncs}, beside that put ")?;
        match self.sync_beside_longest_put() {
            Some(sync) => write!(f, "{:.1} ms", ms(sync.took)),
            None => f.write_str("none"),
        }
    }
}

struct Summary {
    longest_ms: f64,
    p99_ms: f64,
    count: usize,
}

impl Summary {
    fn of(all: &[Timed]) -> Summary {
        let mut took: Vec<f64> = all.iter().map(|one| ms(one.took)).collect();
        took.sort_by(f64::total_cmp);
        let at = |part: usize| took.get(took.len() * part / 100).or(took.last()).copied().unwrap_or(0.0);
        Summary { longest_ms: at(100), p99_ms: at(99), count: took.len() }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} ms, p99 {:.1} of {}", self.longest_ms, self.p99_ms, self.count)
    }
}

fn longest(all: &[Timed]) -> Option<Timed> {
    all.iter().max_by_key(|one| one.took).copied()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
