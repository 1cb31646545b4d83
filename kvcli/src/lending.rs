//! One clerk for many commands: whoever runs them keeps its connections and its session between them.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::time::Duration;

use kvcli::{Clerk, ClerkError, Options};

/// Where the clerk is while no command has it. Clones are the same place.
#[derive(Clone, Default, Debug)]
pub(crate) struct Clerks(Rc<RefCell<Option<Kept>>>);

/// A clerk, for one command.
#[derive(Debug)]
pub(crate) struct Lent {
    kept: Option<Kept>,
    home: Clerks,
}

#[derive(Debug)]
struct Kept {
    clerk: Clerk,
    endpoints: Vec<String>,
    timeout: Duration,
}

impl Clerks {
    /// The clerk of the command before, if it was made for the same; else a new one.
    pub(crate) fn lend(&self, endpoints: &[String], timeout: Duration) -> Result<Lent, ClerkError> {
        let fits = |kept: &Kept| kept.endpoints == endpoints && kept.timeout == timeout;
        let kept = match self.0.take().filter(fits) {
            Some(kept) => kept,
            None => {
                let clerk = Clerk::new(endpoints.iter().cloned(), Options { timeout, ..Options::default() })?;
                Kept { clerk, endpoints: endpoints.to_vec(), timeout }
            }
        };
        Ok(Lent { kept: Some(kept), home: self.clone() })
    }
}

impl Deref for Lent {
    type Target = Clerk;

    fn deref(&self) -> &Clerk {
        &self.kept.as_ref().expect("only the end takes it").clerk
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Clerk {
        &mut self.kept.as_mut().expect("only the end takes it").clerk
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // One that a command left in the middle of something would tell the next what came of that.
        *self.home.0.borrow_mut() = self.kept.take().filter(|kept| kept.clerk.is_idle());
    }
}
