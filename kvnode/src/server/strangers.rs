//! Connections that have not said who they are, and those that were told "no": in the order in which they came, with the time by which
//! they must be gone.

use std::collections::VecDeque;
use std::time::Instant;

use super::connection::{ConnectionKey, Door};

/// Of both doors. Connections that have ended, or are strangers no longer, stay in here until their time: the caller looks.
#[derive(Default)]
pub(crate) struct Strangers {
    clients: VecDeque<(Instant, ConnectionKey)>,
    peers: VecDeque<(Instant, ConnectionKey)>,
}

impl Strangers {
    /// One more, the newest. Deadlines never fall.
    pub(crate) fn add(&mut self, door: Door, deadline: Instant, key: ConnectionKey) {
        self.of(door).push_back((deadline, key));
    }

    /// One whose time is over, if there is any.
    pub(crate) fn take_overdue(&mut self, now: Instant) -> Option<ConnectionKey> {
        let queue =
            [&mut self.clients, &mut self.peers].into_iter().find(|queue| queue.front().is_some_and(|(deadline, _)| *deadline <= now));
        queue?.pop_front().map(|(_, key)| key)
    }

    /// The one at a door that came first of those that are still there. Whoever is not is forgotten, so that a crowd that comes and goes
    /// is looked through once and not with every one who comes.
    pub(crate) fn take_oldest(&mut self, door: Door, mut is_there: impl FnMut(ConnectionKey) -> bool) -> Option<ConnectionKey> {
        let queue = self.of(door);
        while let Some((_, key)) = queue.pop_front() {
            if is_there(key) {
                return Some(key);
            }
        }
        None
    }

    fn of(&mut self, door: Door) -> &mut VecDeque<(Instant, ConnectionKey)> {
        match door {
            Door::Client => &mut self.clients,
            Door::Peer => &mut self.peers,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use slotmap::SlotMap;

    use super::*;

    #[test]
    fn the_oldest_that_is_still_there_makes_room_and_nobody_is_looked_at_twice() {
        let start = Instant::now();
        let mut connections: SlotMap<ConnectionKey, ()> = SlotMap::with_key();
        let mut strangers = Strangers::default();
        let keys: Vec<ConnectionKey> = (0..1000).map(|_| connections.insert(())).collect();
        for (n, key) in (0..).zip(&keys) {
            strangers.add(Door::Peer, start + Duration::from_millis(n), *key);
        }
        let other = connections.insert(());
        strangers.add(Door::Client, start, other);
        // All but a few have ended.
        connections.retain(|key, ()| keys[990..].contains(&key) || key == other);
        let mut looks = 0;
        for expected in &keys[990..] {
            let oldest = strangers.take_oldest(Door::Peer, |key| {
                looks += 1;
                connections.contains_key(key)
            });
            assert_eq!(oldest, Some(*expected));
        }
        assert_eq!((strangers.take_oldest(Door::Peer, |_| true), looks), (None, 1000));
        assert_eq!(strangers.take_oldest(Door::Client, |_| true), Some(other));
    }

    #[test]
    fn whoever_is_overdue_is_told_of_once_whichever_door_it_stands_at() {
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let mut connections: SlotMap<ConnectionKey, ()> = SlotMap::with_key();
        let keys: Vec<ConnectionKey> = (0..4).map(|_| connections.insert(())).collect();
        let mut strangers = Strangers::default();
        for (door, deadline, key) in
            [(Door::Peer, start, keys[0]), (Door::Client, start, keys[1]), (Door::Client, later, keys[2]), (Door::Peer, later, keys[3])]
        {
            strangers.add(door, deadline, key);
        }
        let mut overdue = |now| -> Vec<ConnectionKey> { std::iter::from_fn(|| strangers.take_overdue(now)).collect() };
        assert_eq!(overdue(start), [keys[1], keys[0]]);
        assert_eq!(overdue(later), [keys[2], keys[3]]);
        assert_eq!(overdue(later), []);
    }
}
