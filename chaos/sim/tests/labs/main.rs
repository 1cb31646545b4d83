//! The teaching labs' cases in virtual time, with the labs' own figures: which row is which test stands in `tests/lab-cases.tsv`. A crash
//! is a power cut here, and every check of a drawn run is made at every step.

mod counter; // M-R
mod crowd; // clients that do one call after the other
mod elections; // R-A
mod kv; // K
mod persistence; // R-C
mod puts; // M-K
mod replication; // R-B
mod scans; // T-B, T-C
mod snapshots; // R-D

/// Runs a case under several seeds; `LAB_SEED` names another one, `LAB_SEEDS` how many. What is printed replays a failure.
fn under_seeds(count: u64, case: impl Fn(u64)) {
    let asked = std::env::var("LAB_SEED").ok().and_then(|seed| seed.parse().ok());
    let count = std::env::var("LAB_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(count);
    let seeds = asked.map_or(1..=count, |seed| seed..=seed);
    for seed in seeds {
        println!("LAB_SEED={seed}");
        case(seed);
    }
}
