//! The client of kvraft: the [`Clerk`], and under it a core that does no I/O.
//!
//! A clerk finds the leader and follows it, tries the next server when one is silent, and numbers its writes, so that a retry takes
//! effect once however often it is sent. Every call ends within its timeout, and a failure says which kind it is: *not done* (try
//! again), *unknown* (it may have happened: the [`Token`] in the error settles it), *refused* or *rejected*.
//!
//! It never retries under a new number what may have happened, and never calls *unknown* what it could call *not done*, or the
//! other way round.
//!
//! ```no_run
//! use kvcli::{Clerk, ClerkError, Expectation, Options, Range};
//!
//! let mut clerk = Clerk::new(["127.0.0.1:7117"], Options::default())?;
//! clerk.put("greeting", "hello")?;
//! clerk.append("greeting", ", world")?;
//! let reading = clerk.get("greeting")?;
//! assert_eq!(reading.value.map(|value| value.value), Some(b"hello, world".to_vec()));
//!
//! // Only if nobody was faster.
//! let swapped = clerk.cas("greeting", Expectation::Version(2), "goodbye")?;
//! println!("{:?}, now at version {}", swapped.outcome, swapped.version);
//!
//! // All keys that begin so, as they are at one point in time, however many.
//! let scan = clerk.scan(Range::prefix("greet"))?;
//! println!("as of position {}", scan.position());
//! for item in scan {
//!     let item = item?;
//!     println!("{} bytes under {:?}", item.value.len(), item.key);
//! }
//!
//! match clerk.append("log", "one line\n") {
//!     Ok(written) => println!("at position {}", written.position),
//!     Err(ClerkError::NotDone { .. }) => println!("it did not happen, and will not"),
//!     Err(ClerkError::Unknown { resume: Some(token), .. }) => println!("it may have happened; settle it with {token}"),
//!     Err(other) => return Err(other),
//! }
//! # Ok::<(), ClerkError>(())
//! ```

pub mod ask; // what a caller asks for
pub mod core; // which server next, which retry is safe, what the outcome is: no clock, no socket
mod resolve; // names to addresses, without waiting
mod transport; // what the core wants done, done with sockets

pub mod clerk; // the two together
pub mod endpoint; // HOST:PORT
pub mod error; // how a call can fail
pub mod overview; // a cluster, from what all its members say
pub mod reason; // why one endpoint did not help
pub mod scan; // many keys, page by page
pub mod token; // what settles a write whose outcome is unknown

pub mod bench; // what a cluster does under load
pub mod demo; // three nodes to try, and what a killed leader costs
pub mod words; // a line to words, as sh does it

pub use ask::{Ask, Expectation, Range};
pub use clerk::{Clerk, DEFAULT_TIMEOUT, Options, Reading, StaleReading};
pub use core::{Answer, CallNumber, Page};
pub use endpoint::{parse_endpoint, parse_endpoints};
pub use error::ClerkError;
pub use overview::{Overview, Verdict};
pub use reason::{Reason, Tried};
pub use scan::Scan;
pub use token::{Purpose, Token};
pub use wire::{Item, Value, WriteOutcome, Written};
