//! What a few values come to.

use serde::Serialize;

/// The median of a few values and the two ends; not a number of none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The one in the middle, of an even number of them the greater.
    pub median: f64,
    /// The least.
    pub lowest: f64,
    /// The greatest.
    pub highest: f64,
}

impl Spread {
    /// Of values in any order.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        Self {
            median: at(values.len() / 2),
            lowest: at(0),
            highest: at(values.len().saturating_sub(1)),
        }
    }

    /// The median, and in brackets the ends.
    pub fn shown(self, show: impl Fn(f64) -> String) -> String {
        format!("{} ({} to {})", show(self.median), show(self.lowest), show(self.highest))
    }
}
