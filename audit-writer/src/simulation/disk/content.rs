//! One file's bytes: what a reader sees, what is on the platter, and what lies in between.

use super::super::chance::Chance;

/// Bytes that reach the platter whole or not at all. Real ones are 512 or more; the simulation's files are small.
const SECTOR: usize = 64;

/// A change of a file that no sync has made durable yet.
#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

/// How much of what was not synced survives when power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Survival {
    /// Nothing: the kernel had written nothing back.
    Nothing,
    /// Everything: it had written all of it back.
    Everything,
    /// The changes up to one, and that one in part.
    Prefix,
    /// Some sectors; where the length came without the bytes, zeros.
    Sectors,
}

impl Survival {
    pub(super) fn pick(chance: &mut Chance) -> Survival {
        match chance.below(4) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            2 => Survival::Prefix,
            _ => Survival::Sectors,
        }
    }
}

/// The bytes of one file.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    /// A failed sync took changes from `unsynced` without making them durable: what is seen is not what is there.
    betrayed: bool,
}

impl Content {
    /// What a reader sees.
    pub(super) fn seen(&self) -> &[u8] {
        &self.seen
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let change = Change::Write { offset, bytes: bytes.to_vec() };
        apply(&mut self.seen, &change, bytes.len());
        self.unsynced.push(change);
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.write(self.seen.len(), bytes);
    }

    pub(super) fn truncate(&mut self, length: usize) {
        self.seen.truncate(length);
        self.unsynced.push(Change::Length(length));
    }

    /// Makes what was changed durable.
    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            let whole = change.len();
            apply(&mut self.durable, &change, whole);
        }
    }

    /// A sync that fails: a part reaches the platter, and the rest never will, though readers still see it and later
    /// syncs succeed, as Linux does it.
    pub(super) fn fail_sync(&mut self, chance: &mut Chance) {
        self.keep(Survival::pick(chance), chance);
        self.betrayed = true;
    }

    /// The process ends; the kernel may have let go of pages that it believes to be written.
    pub(super) fn evict(&mut self, chance: &mut Chance) {
        if self.betrayed && chance.one_in(2) {
            self.seen = self.durable.clone();
            for change in &self.unsynced {
                apply(&mut self.seen, change, change.len());
            }
            self.betrayed = false;
        }
    }

    /// Power goes.
    pub(super) fn lose_power(&mut self, survival: Survival, chance: &mut Chance) {
        self.keep(survival, chance);
        self.seen = self.durable.clone();
        self.betrayed = false;
    }

    /// Lets a part of what is unsynced reach the platter, and forgets the rest.
    fn keep(&mut self, survival: Survival, chance: &mut Chance) {
        let changes = std::mem::take(&mut self.unsynced);
        match survival {
            Survival::Nothing => {}
            Survival::Everything => {
                changes.iter().for_each(|change| apply(&mut self.durable, change, change.len()));
            }
            Survival::Prefix => {
                let whole = chance.below(changes.len() + 1);
                for (at, change) in changes.iter().take(whole + 1).enumerate() {
                    let part = if at < whole { change.len() } else { change.cut(self.durable.len(), chance) };
                    apply(&mut self.durable, change, part);
                }
            }
            Survival::Sectors => {
                for change in &changes {
                    apply_some(&mut self.durable, change, chance);
                }
            }
        }
    }
}

impl Change {
    /// How much of it is done where it is done in part. What lies in one sector is overwritten in one piece.
    fn cut(&self, durable: usize, chance: &mut Chance) -> usize {
        let cut = chance.below(self.len() + 1);
        match self {
            Change::Write { offset, .. } if offset + cut < durable => cut / SECTOR * SECTOR,
            _ => cut,
        }
    }

    /// Bytes that it writes.
    fn len(&self) -> usize {
        match self {
            Change::Write { bytes, .. } => bytes.len(),
            Change::Length(_) => 1,
        }
    }
}

/// Applies the first `part` bytes of a change. A change of the length is one step: it needs one.
fn apply(to: &mut Vec<u8>, change: &Change, part: usize) {
    match change {
        Change::Length(length) if part > 0 => to.truncate(*length),
        Change::Length(_) => {}
        Change::Write { offset, bytes } => put(to, *offset, &bytes[..part]),
    }
}

/// Applies the sectors of a change that chance picks; the length may come before the bytes.
fn apply_some(to: &mut Vec<u8>, change: &Change, chance: &mut Chance) {
    match change {
        Change::Length(length) => {
            if chance.one_in(2) {
                to.truncate(*length);
            }
        }
        Change::Write { offset, bytes } => {
            if chance.one_in(2) && to.len() < offset + bytes.len() {
                to.resize(offset + bytes.len(), 0);
            }
            let mut begin = 0;
            while begin < bytes.len() {
                // Sectors lie where they lie on the platter, whatever the write began with.
                let end = (begin + SECTOR - (offset + begin) % SECTOR).min(bytes.len());
                if chance.one_in(2) {
                    put(to, offset + begin, &bytes[begin..end]);
                }
                begin = end;
            }
        }
    }
}

fn put(to: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    if to.len() < offset + bytes.len() {
        to.resize(offset + bytes.len(), 0);
    }
    to[offset..offset + bytes.len()].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_survives_whatever_comes_after() {
        for seed in 0..500 {
            let chance = &mut Chance::new(seed);
            let mut content = Content::default();
            content.append(b"durable");
            content.sync();
            content.append(&[b'x'; 200]);
            content.truncate(100);
            content.lose_power(Survival::pick(chance), chance);
            assert!(content.seen().starts_with(b"durable"), "seed {seed}");
            let rest = &content.seen()[7..];
            assert!(
                rest.len() <= 200 && rest.iter().all(|b| matches!(b, b'x' | 0)),
                "seed {seed}: no garbage"
            );
        }
    }

    #[test]
    fn after_a_failed_sync_later_ones_do_not_bring_the_bytes_back() {
        let mut lost = 0;
        for seed in 0..100 {
            let chance = &mut Chance::new(seed);
            let mut content = Content::default();
            content.append(b"first");
            content.fail_sync(chance);
            assert_eq!(content.seen(), b"first", "a reader still sees it");
            content.append(b"second");
            content.sync();
            content.lose_power(Survival::Everything, chance);
            assert!(content.seen().ends_with(b"second") && content.seen().len() == 11);
            lost += usize::from(content.seen() != b"firstsecond");
        }
        assert!(lost > 50, "{lost} of 100");
    }

    #[test]
    fn a_process_that_ends_takes_nothing_with_it() {
        let chance = &mut Chance::new(7);
        let mut content = Content::default();
        content.append(b"written");
        content.evict(chance);
        assert_eq!(content.seen(), b"written");
    }
}
