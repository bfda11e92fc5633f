//! A queue in which parties take turns: one that queues much waits behind its own, and not before everybody else's.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// What waits, by the party that it is for.
pub(crate) struct FairQueue<P, T> {
    /// The parties that have something waiting, the next one first.
    turns: VecDeque<P>,
    waiting: HashMap<P, VecDeque<T>>,
    length: usize,
}

impl<P, T> Default for FairQueue<P, T> {
    fn default() -> Self {
        Self { turns: VecDeque::new(), waiting: HashMap::new(), length: 0 }
    }
}

impl<P: Clone + Eq + Hash, T> FairQueue<P, T> {
    /// How much waits.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Lets something wait, behind what the same party has here already.
    pub(crate) fn push(&mut self, party: P, item: T) {
        let own = self.waiting.entry(party.clone()).or_default();
        if own.is_empty() {
            self.turns.push_back(party);
        }
        own.push_back(item);
        self.length += 1;
    }

    /// Takes the first thing of the party whose turn it is. Parties that are not `allowed` keep their turns.
    pub(crate) fn pop(&mut self, allowed: impl Fn(&P) -> bool) -> Option<(P, T)> {
        let at = self.turns.iter().position(allowed)?;
        let party = self.turns.remove(at)?;
        let own = self.waiting.get_mut(&party)?;
        let item = own.pop_front()?;
        if own.is_empty() {
            self.waiting.remove(&party);
        } else {
            self.turns.push_back(party.clone());
        }
        self.length -= 1;
        Some((party, item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(items: &[(char, u32)]) -> FairQueue<char, u32> {
        let mut queue = FairQueue::default();
        items.iter().for_each(|(party, item)| queue.push(*party, *item));
        queue
    }

    fn order(mut queue: FairQueue<char, u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop(|_| true).map(|(_, item)| item)).collect()
    }

    #[test]
    fn parties_take_turns_however_much_one_of_them_has_queued() {
        let queue = queue(&[('a', 1), ('a', 2), ('a', 3), ('b', 4), ('c', 5), ('b', 6)]);
        assert_eq!(queue.len(), 6);
        assert_eq!(order(queue), [1, 4, 5, 2, 6, 3]);
    }

    #[test]
    fn a_party_that_is_not_allowed_keeps_its_turn() {
        let mut queue = queue(&[('a', 1), ('a', 2), ('b', 3), ('b', 4)]);
        assert_eq!(queue.pop(|party| *party == 'b'), Some(('b', 3)));
        assert_eq!(queue.pop(|party| *party == 'c'), None);
        assert_eq!(order(queue), [1, 4, 2]);
    }
}
