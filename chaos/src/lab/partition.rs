//! K-A6 and M-K5: one partition with the old leader in the minority, step by step.

use std::time::{Duration, Instant};

use checker::{Answer, Call, Outcome};

use super::stage::{Caller, Work};
use super::{NEVER, Stage, broken};
use crate::ending::Failure;

const KEY: &str = "1";
/// The labs' own: silent while cut off. Their limit for what comes afterwards, 3 s, is held in virtual time: here TCP decides when it
/// tries again, and a busy machine when anything happens.
const SILENT: Duration = Duration::from_secs(1);
/// For calls that may not finish before the partition does.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn one_partition(conditional: bool, seed: u64) -> Result<String, Failure> {
    // M-K5 asks for an unreliable network as well, K-A6 does not.
    let mut stage = Stage::new(5, conditional, NEVER, seed)?;
    let mut first = stage.client(0);
    put(&mut first, conditional, "13")?;

    let leader = stage.leader()?;
    let names = stage.names();
    let minority: Vec<String> = [leader.clone()].into_iter().chain(names.iter().filter(|name| **name != leader).take(1).cloned()).collect();
    let majority: Vec<String> = names.into_iter().filter(|name| !minority.contains(name)).collect();
    let cut = stage.inject(&format!("partition {}", minority.join(",")))?;
    // The clients of host c2 reach the minority only, those of c1 the majority only: one way is enough for TCP.
    let mut ways = vec![stage.inject(&format!("one-way c2 {}", majority.join(",")))?];
    ways.push(stage.inject(&format!("one-way c1 {}", minority.join(",")))?);

    // (a) The majority serves.
    let mut of_majority = stage.client(1);
    of_majority = on_c1(&stage, of_majority, move |client| {
        put(client, conditional, "14")?;
        expect(client, "14")
    })?;

    // (b) The minority says nothing, and the majority goes on.
    let mut writer = stage.client_of(2, addresses(&stage, &minority), PATIENCE);
    let mut reader = stage.client_of(3, addresses(&stage, &minority), PATIENCE);
    let seen = on_c1_get(&stage, &mut of_majority)?;
    let put_15: Work<Outcome> = stage.spawn("c2", move || {
        let ended = match conditional {
            // Of the version that it will have when the partition is over: 16 is one put away.
            true => writer.put_at(KEY, Some((seen + 1, b"16".to_vec())), b"15".to_vec())?,
            false => writer.call(Call::Put { key: KEY.into(), value: b"15".to_vec() })?,
        };
        Ok(ended.outcome)
    })?;
    let get: Work<Outcome> = stage.spawn("c2", move || Ok(reader.call(Call::Get { key: KEY.into() })?.outcome))?;
    stage.pass(SILENT)?;
    if put_15.is_over() || get.is_over() {
        return Err(broken("a call to the minority was answered while it was cut off"));
    }
    of_majority = on_c1(&stage, of_majority, move |client| {
        expect(client, "14")?;
        put(client, conditional, "16")?;
        expect(client, "16")
    })?;
    if put_15.is_over() || get.is_over() {
        return Err(broken("a call to the minority was answered while it was cut off"));
    }

    // (c) Whole again: both finish.
    for id in ways.into_iter().chain([cut]) {
        stage.heal(id)?;
    }
    let healed = Instant::now();
    let ended = stage.finish(vec![put_15, get])?;
    let took = healed.elapsed();
    if !matches!(ended[..], [Outcome::Ok(Answer::Done | Answer::Flag(true)), Outcome::Ok(_)]) {
        return Err(broken(format!("the put of 15 and the get ended with {ended:?}")));
    }
    drop(of_majority);
    expect(&mut stage.client(4), "15")?;
    stage.converge()?;
    let calls = stage.judge()?;
    Ok(format!("{calls} calls; the minority's were answered {} ms after the partition", took.as_millis()))
}

fn addresses(stage: &Stage, names: &[String]) -> Vec<String> {
    stage.cluster.nodes().iter().filter(|node| names.contains(&node.name)).map(|node| node.client_addr.clone()).collect()
}

/// Does something on host c1, with this client.
fn on_c1(
    stage: &Stage,
    mut client: Caller,
    work: impl FnOnce(&mut Caller) -> Result<(), Failure> + Send + 'static,
) -> Result<Caller, Failure> {
    client.hang_up();
    let work = stage.spawn("c1", move || {
        work(&mut client)?;
        client.hang_up();
        Ok(client)
    })?;
    work.end()
}

/// The version of the key, as the majority has it.
fn on_c1_get(stage: &Stage, client: &mut Caller) -> Result<u64, Failure> {
    let mut other = client.clone_idle();
    stage.spawn("c1", move || Ok(other.get(KEY)?.map_or(0, |(version, _)| version)))?.end()
}

fn put(client: &mut Caller, conditional: bool, value: &str) -> Result<(), Failure> {
    let ended = if conditional {
        let seen = client.get(KEY)?;
        client.put_at(KEY, seen, value.into())?
    } else {
        client.call(Call::Put { key: KEY.into(), value: value.into() })?
    };
    match ended.outcome {
        Outcome::Ok(Answer::Done | Answer::Flag(true)) => Ok(()),
        other => Err(broken(format!("the put of {value} ended with {other:?}"))),
    }
}

fn expect(client: &mut Caller, expected: &str) -> Result<(), Failure> {
    let found = client.get(KEY)?.map(|(_, value)| value);
    if found.as_deref() == Some(expected.as_bytes()) { Ok(()) } else { Err(broken(format!("{found:?} was read instead of {expected}"))) }
}
