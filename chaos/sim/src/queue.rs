//! Events that are due, in the order of time; those of one instant in the order in which they were put in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Events are large and stay where they are: only their times are sorted.
pub(crate) struct Queue<T> {
    /// When, which in order, where.
    due: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: Vec<Option<T>>,
    free: Vec<usize>,
    count: u64,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Queue<T> {
        Queue { due: BinaryHeap::new(), events: Vec::new(), free: Vec::new(), count: 0 }
    }

    pub(crate) fn push(&mut self, at_us: u64, event: T) {
        self.count += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[place] = Some(event);
        self.due.push(Reverse((at_us, self.count, place)));
    }

    /// When the next event is due.
    pub(crate) fn next_us(&self) -> Option<u64> {
        self.due.peek().map(|Reverse((at_us, ..))| *at_us)
    }

    /// The next event, and its number.
    pub(crate) fn pop(&mut self) -> Option<(u64, T)> {
        let Reverse((_, number, place)) = self.due.pop()?;
        self.free.push(place);
        self.events[place].take().map(|event| (number, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_as_they_were_put_in() {
        let mut queue = Queue::new();
        for (at_us, event) in [(5, 'c'), (3, 'a'), (5, 'd'), (3, 'b')] {
            queue.push(at_us, event);
        }
        assert_eq!((queue.next_us(), queue.pop()), (Some(3), Some((2, 'a'))));
        queue.push(4, 'x');
        let rest: Vec<char> = std::iter::from_fn(|| queue.pop()).map(|(_, event)| event).collect();
        assert_eq!(rest, ['b', 'x', 'c', 'd']);
        assert_eq!((queue.next_us(), queue.events.len()), (None, 4), "the first one's place was used again");
    }
}
