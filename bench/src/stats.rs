//! Medians and percentiles.

/// The value below which `share` (0 to 1) of the sorted samples lie.
#[must_use]
pub fn percentile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    // The nearest rank; sample counts are far below 2^52.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let rank = (last as f64 * share).round() as usize;
    sorted.get(rank).copied().unwrap_or(f64::NAN)
}

/// One line of the result table.
pub fn row(what: &str, samples: &[f64], unit: &str) {
    let p = |share| percentile(samples, share);
    println!("{what:<52} p50 {:>9.1} {unit:<7} p99 {:>9.1} {unit:<7} n={}", p(0.5), p(0.99), samples.len());
}

#[cfg(test)]
mod tests {
    #[test]
    fn ranks() {
        let samples: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(super::percentile(&samples, 0.0), 1.0);
        assert_eq!(super::percentile(&samples, 0.5), 51.0);
        assert_eq!(super::percentile(&samples, 1.0), 100.0);
    }
}
