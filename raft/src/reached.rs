//! Rare paths: places in the code that few runs come to. Each is marked where it is, in words, so that whoever tests at random can tell
//! what was never tested. A mark changes nothing else, and costs nothing where nothing rare happens.

use alloc::vec::Vec;

/// The marks since they were last taken, each at most once: there are no more than there are places.
#[derive(Clone, Default, Debug)]
pub struct Reached(Vec<&'static str>);

impl Reached {
    /// This place was reached.
    pub fn mark(&mut self, path: &'static str) {
        if !self.0.contains(&path) {
            self.0.push(path);
        }
    }

    /// Moves the marks to `out`.
    pub fn take(&mut self, out: &mut Vec<&'static str>) {
        if !self.0.is_empty() {
            out.append(&mut self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_kept_once_until_it_is_taken() {
        let mut reached = Reached::default();
        for path in ["a", "b", "a", "a"] {
            reached.mark(path);
        }
        let mut taken = alloc::vec!["before"];
        reached.take(&mut taken);
        reached.take(&mut taken);
        assert_eq!(taken, ["before", "a", "b"]);
    }
}
