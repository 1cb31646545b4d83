//! Says whether what clients of a key/value store saw could have come from one copy of it, and if not, why not.
//!
//! A history is what clients asked, when, and what they were told: get, put, append, delete, cas and scan, each with an interval on one
//! clock and an outcome that is ok, fail (it never happened) or unknown (at any time after its call, or never). It is *linearizable* if
//! every operation can be given a moment within its interval such that one copy, doing them one after the other, answers as was answered.
//!
//! It shares no code with what it judges, reads no clock and draws no random numbers: the same history gives the same verdict. The store
//! is taken to be empty at first. Three tiers, the cheapest that can decide first:
//!
//! 1. The **witness**: where every reply says at which position it took effect, that order need only be replayed and held against the
//!    clock, O(n log n) for everything. What passes is linearizable whatever the positions are worth.
//! 2. **Appends** and **registers**: keys of which the answers themselves show the order, since no value is written twice. Where a key is
//!    both put and appended to, they show most of what can be wrong.
//! 3. The **search** for an order, key by key, within [`Limits`]; keys that scans tie together are searched together.
//!
//! A history may also come as text, a JSON object per line ([`read`], [`write()`]); the fields stand in `src/json.rs`.
//!
//! ```
//! use checker::{Answer, Call, History, Limits, Op, Verdict, check};
//!
//! let mut history = History::new();
//! let put = |value: &str| Call::Put { key: b"x".into(), value: value.into() };
//! history.push(Op::new(1, put("old"), 10).ok(20, Answer::Done))?;
//! history.push(Op::new(1, put("new"), 30).ok(40, Answer::Done))?;
//! history.push(Op::new(2, Call::Get { key: b"x".into() }, 50).ok(60, Answer::Value(Some(b"old".into()))))?;
//! let Verdict::Violation(violation) = check(&history, &Limits::default()) else { panic!("not noticed") };
//! println!("{violation}"); // its name, the operations that prove it, why, and a drawing
//! # Ok::<(), checker::OpError>(())
//! ```

mod append; // keys that are only appended to
mod broken; // checkers that are wrong on purpose, in tests
mod check; // the tiers, one after the other
mod explain; // why a search found nothing
mod history; // what clients saw
mod json; // the same, as lines of text
mod mixed; // keys that are put and appended to
mod model; // one copy
mod order; // an order against the clock
mod place; // writes of unknown outcome, in an order that is given
mod register; // keys that are only put
mod search; // any order
mod verdict; // what is said in the end
mod versions; // how many writes a key can have seen
mod witness; // the order that the positions claim

#[cfg(test)]
mod tests;

pub use check::{Limits, check};
pub use history::{Answer, Call, History, Name, Op, OpError, Outcome};
pub use json::{LINE_LEN_MAX, LineError, ReadError, parse, read, write};
pub use verdict::{Anomaly, GaveUp, OPS_MAX, Verdict, Violation};

/// What a tier says of a key.
enum Judged {
    Fits,
    Broken(Box<Violation>),
    /// The key is not of the kind that it knows.
    NotMine,
}
