//! Histories with a known verdict.

mod bad; // one answer of a good history made wrong, in every way that has a name
mod broken; // checkers that are wrong on purpose are noticed by the rest
mod brute; // against all orders, for short histories
mod format; // lines of text
mod good; // what one copy answered is never rejected
mod make; // a random execution of one copy
mod told; // positions and versions, where not everything has them
