//! Events that are due, in the order of time; those of one instant in the order in which they were put in.

/// Events are large and stay where they are: only their times are sorted.
pub(crate) struct Queue<T> {
    /// The next one last: what is put in is mostly due soon, and moves few.
    due: Vec<Due>,
    events: Vec<Option<T>>,
    free: Vec<usize>,
    count: u64,
}

/// When, which in order, where: as one number, so that to compare two is one comparison.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due(u128);

const NUMBER_BITS: u32 = 40;
const PLACE_BITS: u32 = 24;

impl Due {
    fn new(at_us: u64, number: u64, place: usize) -> Due {
        let place = place as u64;
        assert!(number >> NUMBER_BITS == 0 && place >> PLACE_BITS == 0, "more events than can be numbered");
        Due(u128::from(at_us) << 64 | u128::from(number << PLACE_BITS | place))
    }

    fn at_us(self) -> u64 {
        u64::try_from(self.0 >> 64).expect("the upper half")
    }

    fn number(self) -> u64 {
        self.low() >> PLACE_BITS
    }

    fn place(self) -> usize {
        usize::try_from(self.low() & ((1 << PLACE_BITS) - 1)).expect("it was one")
    }

    fn low(self) -> u64 {
        u64::try_from(self.0 & u128::from(u64::MAX)).expect("the lower half")
    }
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Queue<T> {
        Queue { due: Vec::new(), events: Vec::new(), free: Vec::new(), count: 0 }
    }

    pub(crate) fn push(&mut self, at_us: u64, event: T) {
        self.count += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[place] = Some(event);
        let due = Due::new(at_us, self.count, place);
        let behind = self.due.partition_point(|other| due < *other);
        self.due.insert(behind, due);
    }

    /// When the next event is due.
    pub(crate) fn next_us(&self) -> Option<u64> {
        self.due.last().map(|due| due.at_us())
    }

    /// The next event, and its number.
    pub(crate) fn pop(&mut self) -> Option<(u64, T)> {
        let due = self.due.pop()?;
        self.free.push(due.place());
        self.events[due.place()].take().map(|event| (due.number(), event))
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
