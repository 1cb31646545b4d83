//! The labs' common driver of K-A and K-B: clients append and read, for three rounds; every acknowledged append is there in the end, once
//! and in order. And K-A5, where all append to one key.

use checker::{Call, Outcome};
use fastrand::Rng;

use super::stage::{Caller, Stop};
use super::{Length, NEVER, Stage, Terms, broken};
use crate::ending::Failure;

/// Of each client in each round.
const WRITES_MIN: usize = 2;

pub(crate) fn run(terms: &Terms, length: Length, seed: u64) -> Result<String, Failure> {
    let mut stage = Stage::new(terms.servers, terms.unreliable, terms.max_log, seed)?;
    let mut appends = 0;
    for round in 0..length.rounds {
        let stop = Stop::default();
        let mut clients = Vec::new();
        for number in 0..terms.clients {
            let random = Rng::with_seed(seed ^ (round << 32) ^ number as u64);
            let client = Client { caller: stage.client(number), number, all: terms.clients, random, stop: stop.clone(), written: 0 };
            let random_keys = terms.random_keys;
            let work = move || if random_keys { client.any_key() } else { client.own_key() };
            clients.push(stage.spawn(["c1", "c2"][number % 2], work)?);
        }
        let written = stage.round(terms, length.load, &stop, clients)?;
        let mut independent = stage.client(terms.clients);
        for (client, written) in written.iter().enumerate() {
            let value = read(&mut independent, &client.to_string())?;
            appends += written;
            if !terms.random_keys && value != tokens(client, *written) {
                return Err(broken(format!("client {client} has appended {written} tokens, and its key holds {value:?}")));
            }
        }
    }
    stage.converge()?;
    let calls = stage.judge()?;
    Ok(format!("{} rounds, {calls} calls, {appends} appends, longest log {} bytes", length.rounds, stage.longest_log()))
}

/// K-A5: five clients append ten tokens each to one key, on a network that loses and delays.
pub(crate) fn one_key(seed: u64) -> Result<String, Failure> {
    const CLIENTS: usize = 5;
    const APPENDS: usize = 10;
    const KEY: &str = "one";
    let mut stage = Stage::new(3, true, NEVER, seed)?;
    let mut independent = stage.client(CLIENTS);
    write(&mut independent, Call::Put { key: KEY.into(), value: Vec::new() })?;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let mut caller = stage.client(number);
        let work = move || {
            let mut append = |count| write(&mut caller, Call::Append { key: KEY.into(), value: token(number, count).into_bytes() });
            (0..APPENDS).try_for_each(&mut append)
        };
        clients.push(stage.spawn(["c1", "c2"][number % 2], work)?);
    }
    stage.finish(clients)?;
    let value = read(&mut independent, KEY)?;
    for client in 0..CLIENTS {
        let places: Vec<_> = (0..APPENDS).map(|count| value.find(&token(client, count))).collect();
        if places.contains(&None) || !places.is_sorted() {
            return Err(broken(format!("the appends of client {client} are not all there in order: {value:?}")));
        }
    }
    if value.matches('y').count() != CLIENTS * APPENDS {
        return Err(broken(format!("an append is there twice: {value:?}")));
    }
    stage.converge()?;
    let calls = stage.judge()?;
    Ok(format!("{calls} calls, {} appends to one key, each there once", CLIENTS * APPENDS))
}

fn token(client: usize, count: usize) -> String {
    format!("x {client} {count} y")
}

fn tokens(client: usize, count: usize) -> String {
    (0..count).map(|count| token(client, count)).collect()
}

fn read(caller: &mut Caller, key: &str) -> Result<String, Failure> {
    let value = caller.get(key)?.map(|(_, value)| value).unwrap_or_default();
    Ok(String::from_utf8_lossy(&value).into_owned())
}

fn write(caller: &mut Caller, call: Call) -> Result<(), Failure> {
    match caller.call(call)?.outcome {
        Outcome::Ok(_) => Ok(()),
        other => Err(broken(format!("a write did not finish by retrying: {other:?}"))),
    }
}

/// One client of a round.
struct Client {
    caller: Caller,
    number: usize,
    all: usize,
    random: Rng,
    stop: Stop,
    written: usize,
}

impl Client {
    /// Half appends to its own key, half reads that must show what it has written so far. How many appends.
    fn own_key(mut self) -> Result<usize, Failure> {
        let key = self.number.to_string();
        write(&mut self.caller, Call::Put { key: key.clone().into(), value: Vec::new() })?;
        while self.goes_on() {
            if self.random.bool() {
                self.append(&key)?;
            } else {
                let (value, expected) = (read(&mut self.caller, &key)?, tokens(self.number, self.written));
                if value != expected {
                    return Err(broken(format!("client {} reads {value:?} and has written {expected:?}", self.number)));
                }
            }
        }
        Ok(self.written)
    }

    /// 50 % appends, 5 % puts, 45 % reads, of anybody's keys: only the history can judge. How many appends.
    fn any_key(mut self) -> Result<usize, Failure> {
        while self.goes_on() {
            let key = self.random.usize(..self.all).to_string();
            match self.random.u32(..100) {
                0..50 => self.append(&key)?,
                50..55 => {
                    let value = token(self.number, self.written).into_bytes();
                    self.written += 1;
                    write(&mut self.caller, Call::Put { key: key.into(), value })?;
                }
                _ => read(&mut self.caller, &key).map(drop)?,
            }
        }
        Ok(self.written)
    }

    /// Until it is told to stop; and however slow the machine is, a client that has hardly begun shows nothing.
    fn goes_on(&self) -> bool {
        !self.stop.came() || self.written < WRITES_MIN
    }

    fn append(&mut self, key: &str) -> Result<(), Failure> {
        let value = token(self.number, self.written).into_bytes();
        self.written += 1;
        write(&mut self.caller, Call::Append { key: key.into(), value })
    }
}
