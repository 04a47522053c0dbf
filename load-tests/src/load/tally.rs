//! What came back, counted by route and status.

use std::{collections::BTreeMap, time::Duration};

/// Counts and latencies by route and status, as the client saw them.
///
/// A route of `None`: no route was meant to fit. A status of `None`: the client hung up before there was one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    cells: BTreeMap<(Option<&'static str>, Option<u16>), Vec<Duration>>,
}

/// One line of a [`Tally`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The route asked for.
    pub route: Option<&'static str>,
    /// The status received.
    pub status: Option<u16>,
    /// How many.
    pub count: usize,
    /// Half of them took at most this long.
    pub median: Duration,
    /// 99 in 100 took at most this long.
    pub p99: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Tally {
    /// Counts one exchange.
    pub fn add(&mut self, route: Option<&'static str>, status: Option<u16>, took: Duration) {
        self.cells.entry((route, status)).or_default().push(took);
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: Tally) {
        for (key, latencies) in other.cells {
            self.cells.entry(key).or_default().extend(latencies);
        }
    }

    /// How many exchanges there were in all.
    pub fn total(&self) -> usize {
        self.cells.values().map(Vec::len).sum()
    }

    /// The lines, sorted by route and status; those without come first.
    pub fn rows(&self) -> Vec<Row> {
        let row = |(&(route, status), latencies): (&(_, _), &Vec<Duration>)| {
            let mut sorted = latencies.clone();
            sorted.sort_unstable();
            // A cell exists because something was put into it, so there is always a last one.
            let at = |percent: usize| sorted[(sorted.len() - 1) * percent / 100];
            Row { route, status, count: sorted.len(), median: at(50), p99: at(99), longest: at(100) }
        };
        self.cells.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_tallies_count_everything_once() {
        let mut all = Tally::default();
        for worker in 0..3 {
            let mut tally = Tally::default();
            for n in 0..100 {
                tally.add(Some("orders"), Some(200), Duration::from_millis(worker * 100 + n));
            }
            tally.add(None, Some(404), Duration::from_millis(1));
            all.merge(tally);
        }
        assert_eq!(all.total(), 303);
        let rows = all.rows();
        assert_eq!((rows[0].route, rows[0].status, rows[0].count), (None, Some(404), 3));
        assert_eq!(rows[1].count, 300);
        assert_eq!(rows[1].median, Duration::from_millis(149));
        assert_eq!(rows[1].longest, Duration::from_millis(299));
    }
}
