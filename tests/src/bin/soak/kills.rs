//! SIGKILL at random moments while snapshots are taken every second or so, under load: nothing acknowledged is lost or doubled.

use std::time::{Duration, Instant};

use tests::load::{Load, Told};
use tests::wait::let_pass;
use tests::{Cluster, host};

/// So many rounds; whether all was well. Panics if not.
pub(crate) fn run(rounds: u64) -> bool {
    let seed = host::seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut cluster = Cluster::prepare(3);
    cluster.run_args = ["--max-log-bytes", "64KiB"].map(String::from).into();
    cluster.start_all();
    cluster.wait_healthy();
    let start = Instant::now();
    let load = Load::start(&cluster.endpoints(), 8);
    let (mut one, mut all) = (0, 0);
    for _ in 0..rounds {
        let_pass(Duration::from_millis(random.u64(0..1500)));
        if random.u8(..5) == 0 {
            all += 1;
            cluster.kill_all();
            cluster.start_all();
        } else {
            one += 1;
            let victim = random.usize(..3);
            cluster.kill(victim);
            let_pass(Duration::from_millis(random.u64(0..1500)));
            cluster.start_node(victim);
        }
        load.wait_progress(20);
    }
    let account = load.stop();
    cluster.wait_healthy();
    cluster.wait_equal();
    account.check_all(&cluster.endpoints());
    let installs: usize = (0..3).map(|number| cluster.log(number).matches("caught up").count()).sum();
    let (done, seconds) = (account.count(Told::Done), start.elapsed().as_secs());
    println!("SIGKILL while snapshots are taken, seed {seed}: {one} times one node, {all} times all three, {seconds} s under load");
    println!("  {done} acknowledged appends: 0 lost, 0 doubled; {installs} times a node was caught up by a snapshot");
    true
}
