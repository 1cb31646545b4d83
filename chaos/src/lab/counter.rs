//! M-R3 and M-R4: a counter that everybody increments, without its leader. The counter is a key's version: it counts appends.

use std::time::{Duration, Instant};

use checker::{Call, Outcome};
use kvcli::{Clerk, Options};

use super::stage::{Caller, Work};
use super::{NEVER, Stage, broken};
use crate::ending::{Ending, Failure};

const COUNTER: &str = "counter";
/// The labs' own limit for a counter to be the same everywhere.
const EVERYWHERE: Duration = Duration::from_secs(29);
/// A client that reaches nobody but the old leader gives up behind this.
const PATIENCE: Duration = Duration::from_secs(2);

/// Increments; the new count.
fn increment(client: &mut Caller) -> Result<u64, Failure> {
    let ended = client.call(Call::Append { key: COUNTER.into(), value: b"+".to_vec() })?;
    match (&ended.outcome, ended.version) {
        (Outcome::Ok(_), Some(version)) => Ok(version),
        (other, _) => Err(broken(format!("an increment ended with {other:?}"))),
    }
}

/// Waits until these nodes, each by itself, hold this count, and none more.
fn wait_counter(stage: &mut Stage, nodes: &[String], count: u64) -> Result<(), Failure> {
    let deadline = Instant::now() + EVERYWHERE;
    for name in nodes {
        let node = stage.cluster.nodes().iter().find(|node| node.name == *name).expect("a node");
        let options = Options { timeout: Duration::from_secs(1), ..Options::default() };
        let mut clerk = Clerk::new([node.client_addr.clone()], options).map_err(|error| Ending::Internal.says(error))?;
        loop {
            let found = clerk.get_stale(COUNTER).map(|reading| reading.value.map_or(0, |value| value.version));
            match found {
                Ok(found) if found == count => break,
                Ok(found) if found > count => return Err(broken(format!("{name} counts {found} after {count} increments"))),
                _ if Instant::now() > deadline => return Err(Ending::Late.says(format!("{name} does not count to {count}: {found:?}"))),
                _ => stage.pass(Duration::from_millis(10))?,
            }
        }
    }
    Ok(())
}

pub(crate) fn leader_failure(seed: u64) -> Result<String, Failure> {
    let mut stage = Stage::new(3, false, NEVER, seed)?;
    let mut client = stage.client(0);
    increment(&mut client)?;
    let leader = stage.leader()?;
    let cut = stage.inject(&format!("partition {leader}"))?;
    let ways = stage.inject(&format!("one-way c1 {leader}"))?;
    client.hang_up();
    let count = stage.spawn("c1", move || increment(&mut client))?.end()?;
    let names = stage.names();
    let others: Vec<String> = names.iter().filter(|name| **name != leader).cloned().collect();
    wait_counter(&mut stage, &others, count)?;
    stage.heal(ways)?;
    stage.heal(cut)?;
    wait_counter(&mut stage, &names, 2)?;
    stage.converge()?;
    let calls = stage.judge()?;
    Ok(format!("{calls} calls; every node counts {count}"))
}

pub(crate) fn leader_partition(seed: u64) -> Result<String, Failure> {
    const DECREMENTS: usize = 100;
    let mut stage = Stage::new(3, false, NEVER, seed)?;
    let mut client = stage.client(0);
    increment(&mut client)?;
    let leader = stage.leader()?;
    let names = stage.names();
    let others: Vec<String> = names.iter().filter(|name| **name != leader).cloned().collect();
    let address: Vec<String> =
        stage.cluster.nodes().iter().filter(|node| node.name == leader).map(|node| node.client_addr.clone()).collect();
    // Clients of c2 reach the leader, and the leader nobody.
    let mut faults = vec![stage.inject(&format!("partition {leader}"))?];
    faults.push(stage.inject(&format!("one-way c2 {}", others.join(",")))?);
    faults.push(stage.inject(&format!("one-way c1 {leader}"))?);
    let mut burst: Vec<Work<Outcome>> = Vec::new();
    for number in 0..DECREMENTS {
        let mut client = stage.client_of(1 + number, address.clone(), PATIENCE);
        burst.push(stage.spawn("c2", move || {
            Ok(client.call(Call::Append { key: "never".into(), value: format!("-{number};").into_bytes() })?.outcome)
        })?);
    }
    stage.pass(Duration::from_millis(10))?;
    client.hang_up();
    let count = stage.spawn("c1", move || increment(&mut client))?.end()?;
    // Ours are retried where the old leader has said that it no longer leads, and they cannot get there: they are answered when their
    // time is up, or, whole again, by the new leader, for good. The labs' leader keeps them waiting and fails them afterwards.
    let mut answered = 0;
    for outcome in stage.finish(burst)? {
        match outcome {
            Outcome::Ok(_) => return Err(broken("a decrement succeeded in the minority")),
            Outcome::Fail | Outcome::Unknown => answered += 1,
        }
    }
    for id in faults {
        stage.heal(id)?;
    }
    stage.converge()?;
    wait_counter(&mut stage, &names, 2)?;
    if let Some(found) = stage.client(1000).get("never")? {
        return Err(broken(format!("decrements took effect that the minority had taken: {found:?}")));
    }
    stage.judge()?;
    Ok(format!("{answered} decrements answered, none succeeded; every node counts {count}"))
}
