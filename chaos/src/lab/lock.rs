//! M-L: a lock made of conditional puts alone, a key that names its holder, or nobody.

use std::time::Duration;

use checker::{Answer, Outcome};

use super::stage::{Caller, Stop};
use super::{NEVER, Stage, broken};
use crate::ending::Failure;

const LOCK: &str = "lock";
/// What the lock guards: empty unless somebody is inside.
const GUARD: &str = "guard";
const HOLD: Duration = Duration::from_millis(10);

pub(crate) fn lock(clients: usize, unreliable: bool, load: Duration, seed: u64) -> Result<String, Failure> {
    let mut stage = Stage::new(3, unreliable, NEVER, seed)?;
    let stop = Stop::default();
    let mut works = Vec::new();
    for number in 0..clients {
        let (caller, stop) = (stage.client(number), stop.clone());
        works.push(stage.spawn(["c1", "c2"][number % 2], move || Holder { caller, number, writes: 0, entries: 0 }.work(&stop))?);
    }
    stage.pass(load)?;
    stop.now();
    let entries: u64 = stage.finish(works)?.into_iter().sum();
    let mut independent = stage.client(clients);
    for key in [LOCK, GUARD] {
        let version = independent.get(key)?.map_or(0, |(version, _)| version);
        if version != 2 * entries {
            return Err(broken(format!("{key} was written {version} times by {entries} who entered and left")));
        }
    }
    stage.converge()?;
    let calls = stage.judge()?;
    Ok(format!("{entries} entries of {clients} clients, {calls} calls"))
}

struct Holder {
    caller: Caller,
    number: usize,
    writes: u64,
    entries: u64,
}

impl Holder {
    fn work(mut self, stop: &Stop) -> Result<u64, Failure> {
        while self.take(stop)? {
            self.write(GUARD, "", true)?;
            // sleeps because holding the lock for a while is what the case asks for
            std::thread::sleep(HOLD);
            self.write(GUARD, "inside", false)?;
            self.write(LOCK, "held", false)?;
            self.entries += 1;
        }
        Ok(self.entries)
    }

    /// Until they are told to stop; and one of them until it has entered, or a slow machine would show nothing.
    fn goes_on(&self, stop: &Stop) -> bool {
        !stop.came() || (self.number == 0 && self.entries == 0)
    }

    /// Tries until the lock is ours, or until there is no time left; whether it is.
    fn take(&mut self, stop: &Stop) -> Result<bool, Failure> {
        while self.goes_on(stop) {
            let seen = self.caller.get(LOCK)?;
            let is_free = seen.as_ref().is_none_or(|(_, value)| value.starts_with(b"free"));
            if is_free {
                let mine = self.value("held");
                match self.caller.put_at(LOCK, seen, mine)?.outcome {
                    Outcome::Ok(Answer::Flag(true)) => return Ok(true),
                    Outcome::Ok(Answer::Flag(false)) => {}
                    other => return Err(broken(format!("taking the lock ended with {other:?}"))),
                }
            }
        }
        Ok(false)
    }

    /// Every value is written once, so that the history says whose it is: `free 3 17`, `held 3 18`.
    fn value(&mut self, state: &str) -> Vec<u8> {
        self.writes += 1;
        format!("{state} {} {}", self.number, self.writes).into_bytes()
    }

    /// Changes a key that nobody else may touch just now; it must be as we left it, or free.
    fn write(&mut self, key: &str, expected: &str, enter: bool) -> Result<(), Failure> {
        let seen = self.caller.get(key)?;
        let text = seen.as_ref().map(|(_, value)| String::from_utf8_lossy(value).into_owned()).unwrap_or_default();
        let is_mine = |state: &str| text.starts_with(&format!("{state} {} ", self.number));
        let fits = if enter { text.is_empty() || text.starts_with("free") } else { is_mine(expected) };
        if !fits {
            return Err(broken(format!("client {} holds the lock, and {key} is {text:?}", self.number)));
        }
        let value = self.value(if enter { "inside" } else { "free" });
        match self.caller.put_at(key, seen, value)?.outcome {
            Outcome::Ok(Answer::Flag(true)) => Ok(()),
            other => Err(broken(format!("client {} was not alone with {key}: {other:?}", self.number))),
        }
    }
}
