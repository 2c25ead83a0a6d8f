//! What several rounds come to.

/// The median of some figures, with the lowest and the highest of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

impl Spread {
    /// Of all figures; `None` if there are none.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (low, high) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median = if figures.len() % 2 == 1 {
            figures[middle]
        } else {
            f64::midpoint(figures[middle - 1], figures[middle])
        };
        Some(Self { median, low, high })
    }
}

/// `amount` per `unit`; 0 where there is no unit.
pub fn per(amount: u64, unit: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "figures of a measurement are far below 2^52")]
    let amount = amount as f64;
    if unit > 0.0 { amount / unit } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_odd_and_of_an_even_number() {
        let spread = |figures: &[f64]| Spread::of(figures.iter().copied());
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0]), Some(Spread { median: 3.0, low: 3.0, high: 3.0 }));
        assert_eq!(spread(&[9.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.0, high: 9.0 }));
        assert_eq!(spread(&[9.0, 1.0, 2.0, 4.0]).map(|s| s.median), Some(3.0));
    }

    #[test]
    fn nothing_in_no_time_is_no_rate() {
        assert!(per(5, 0.0).abs() < f64::EPSILON);
        assert!((per(5, 2.0) - 2.5).abs() < f64::EPSILON);
    }
}
