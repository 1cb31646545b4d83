//! The labs' driver of M-K: clients fight for one key, or for a hundred, with conditional puts.

use checker::{Answer, Outcome};
use fastrand::Rng;

use super::stage::{Caller, Stop};
use super::{Length, Stage, Terms, broken};
use crate::ending::Failure;

/// Of the cases with random keys.
const KEYS: usize = 100;

/// What one client was told of its puts.
#[derive(Clone, Copy, Default)]
struct Told {
    done: u64,
    refused: u64,
    maybe: u64,
}

pub(crate) fn run(terms: &Terms, length: Length, seed: u64) -> Result<String, Failure> {
    let mut stage = Stage::new(terms.servers, terms.unreliable, terms.max_log, seed)?;
    let keys = if terms.random_keys { KEYS } else { 1 };
    let mut all = Told::default();
    for round in 0..length.rounds {
        let stop = Stop::default();
        let mut clients = Vec::new();
        for number in 0..terms.clients {
            let random = Rng::with_seed(seed ^ (round << 32) ^ number as u64);
            let client = Client { caller: stage.client(number), name: format!("{round} {number}"), keys, random, stop: stop.clone() };
            clients.push(stage.spawn(["c1", "c2"][number % 2], move || client.fight())?);
        }
        for told in stage.round(terms, length.load, &stop, clients)? {
            all = Told { done: all.done + told.done, refused: all.refused + told.refused, maybe: all.maybe + told.maybe };
        }
        let mut independent = stage.client(terms.clients);
        let mut versions = 0;
        for key in 0..keys {
            versions += independent.get(&name(key))?.map_or(0, |(version, _)| version);
        }
        if versions < all.done || versions > all.done + all.maybe {
            return Err(broken(format!("{} puts succeeded, {} maybe, and the versions add up to {versions}", all.done, all.maybe)));
        }
        stage.judge()?;
    }
    stage.converge()?;
    let calls = stage.judge()?;
    let Told { done, refused, maybe } = all;
    let log = stage.longest_log();
    Ok(format!("{} rounds, {calls} calls, {done} puts, {refused} refused, {maybe} maybe, longest log {log} bytes", length.rounds))
}

fn name(key: usize) -> String {
    if key == 0 { "k".into() } else { format!("k{key}") }
}

/// One client of a round.
struct Client {
    caller: Caller,
    name: String,
    keys: usize,
    random: Rng,
    stop: Stop,
}

impl Client {
    fn fight(mut self) -> Result<Told, Failure> {
        let mut told = Told::default();
        let mut writes = 0;
        // However slow the machine is: a client that has put nothing shows nothing.
        while !self.stop.came() || told.done == 0 {
            let key = name(self.random.usize(..self.keys));
            let seen = self.caller.get(&key)?;
            let version = seen.as_ref().map_or(0, |(version, _)| *version);
            let mine = format!("{} {writes}", self.name).into_bytes();
            writes += 1;
            let ended = self.caller.put_at(&key, seen, mine.clone())?;
            match ended.outcome {
                Outcome::Ok(Answer::Flag(true)) => {
                    told.done += 1;
                    if ended.version != Some(version + 1) {
                        return Err(broken(format!("a put at version {version} made version {:?}", ended.version)));
                    }
                    // Whoever reads the version that the put made reads what it put.
                    if let Some((found, value)) = self.caller.get(&key)?
                        && found == version + 1
                        && value != mine
                    {
                        return Err(broken(format!("version {found} is {value:?}, and {mine:?} was put as that")));
                    }
                }
                Outcome::Ok(Answer::Flag(false)) => told.refused += 1,
                Outcome::Unknown => told.maybe += 1,
                other => return Err(broken(format!("client {}: a put did not finish by retrying: {other:?}", self.name))),
            }
        }
        Ok(told)
    }
}
