//! Checkers that are wrong on purpose, in tests only: the tests must notice each of them.

/// One way to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// A write whose outcome is unknown is taken as one that did not happen.
    UnknownIsFailed,
    /// What ends at the moment at which something else begins is taken as over.
    HalfOpenIntervals,
    /// The last key is not looked at.
    KeyDropped,
    /// Everything is fine.
    AcceptsAll,
}

#[cfg(test)]
thread_local! {
    pub(crate) static BROKEN: std::cell::Cell<Option<Broken>> = const { std::cell::Cell::new(None) };
}

#[cfg(test)]
pub(crate) fn is(broken: Broken) -> bool {
    BROKEN.get() == Some(broken)
}

/// Never, outside this crate's tests.
#[cfg(not(test))]
pub(crate) const fn is(_: Broken) -> bool {
    false
}
