//! The middle of several measurements: one that was disturbed does not move it. And what most stay below.

/// The median; of an even number, the lower of the two in the middle. Panics where there is none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}

/// The least of `values` that so large a share of them does not exceed. Panics where there is none.
pub(crate) fn percentile<T: Ord + Copy>(values: &[T], share: f64) -> T {
    let mut values = values.to_vec();
    values.sort_unstable();
    let rank = (values.len() as f64 * share).ceil() as usize;
    values[rank.clamp(1, values.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::{median, percentile};

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<_> = (1..=200).rev().collect();
        assert_eq!(
            (percentile(&values, 0.5), percentile(&values, 0.99), percentile(&values, 1.0)),
            (100, 198, 200)
        );
        assert_eq!(percentile(&[7], 0.99), 7);
    }

    #[test]
    fn one_outlier_does_not_move_it() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([2.0, 1.0, 2.0, 900.0]), 2.0);
    }
}
