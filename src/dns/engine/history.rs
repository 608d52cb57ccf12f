//! The last changes of a zone, for secondaries that hold an older version (RFC 1995).

use std::collections::VecDeque;
use std::sync::Arc;

use super::change::Change;

/// Changes, each beginning where the one before ends.
#[derive(Debug, Clone, Default)]
pub struct History {
    changes: VecDeque<Arc<Change>>,
    size: usize,
}

/// Changes remembered of one zone.
const MAX_CHANGES: usize = 10_000;

impl History {
    /// Adds a change; what is older than `max_size` octets allow is forgotten. A change that does
    /// not follow on the last one begins a new history.
    pub fn push(&mut self, change: Arc<Change>, max_size: usize) {
        if self
            .changes
            .back()
            .is_some_and(|last| last.to != change.from)
        {
            *self = History::default();
        }
        self.size += change.size();
        self.changes.push_back(change);
        while self.size > max_size || self.changes.len() > MAX_CHANGES {
            let Some(oldest) = self.changes.pop_front() else {
                break;
            };
            self.size -= oldest.size();
        }
    }

    /// The changes from a version to the last; none if they are not known, or are more octets than
    /// `max_size`.
    pub fn since(&self, serial: u32, max_size: usize) -> Option<Vec<Arc<Change>>> {
        let first = self
            .changes
            .iter()
            .rposition(|change| change.from == serial)?;
        let changes: Vec<_> = self.changes.range(first..).cloned().collect();
        let size: usize = changes.iter().map(|change| change.size()).sum();
        (size <= max_size).then_some(changes)
    }

    /// The serial that the last change leads to.
    pub fn last(&self) -> Option<u32> {
        self.changes.back().map(|change| change.to)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn change(from: u32, to: u32) -> Arc<Change> {
        let record = crate::wire::record::OwnRecord::from_text(
            crate::wire::name::Name::from_text("a").unwrap(),
            crate::wire::code::RrType::A,
            1,
            "192.0.2.1",
        );
        Arc::new(Change {
            from,
            to,
            removed: vec![],
            added: vec![record.unwrap()],
        })
    }

    #[test]
    fn bounded_and_without_gaps() {
        let size = change(1, 2).size();
        let mut history = History::default();
        for serial in 1..=5 {
            history.push(change(serial, serial + 1), 3 * size);
        }
        assert!(history.since(2, usize::MAX).is_none());
        assert_eq!(history.since(3, usize::MAX).unwrap().len(), 3);
        assert_eq!(history.since(5, usize::MAX).unwrap().len(), 1);
        assert!(history.since(6, usize::MAX).is_none());
        assert!(history.since(3, size).is_none(), "more than the whole zone");
        history.push(change(9, 10), 3 * size);
        assert!(history.since(5, usize::MAX).is_none());
        assert_eq!(history.last(), Some(10));
    }
}
