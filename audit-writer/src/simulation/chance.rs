//! Numbers that look random and are the same for the same seed (SplitMix64).

/// A source of chance.
#[derive(Clone, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    /// The source that `seed` names.
    pub(super) fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 where there is none.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next() % bound as u64) as usize }
    }

    /// One time out of `of`.
    pub(super) fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}
