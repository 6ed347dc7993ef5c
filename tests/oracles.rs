//! Analytic oracles: answers that are known without simulating (numbers as in the list of oracles).

use kubelapse::engine::{Purpose, Random, Span};
use kubelapse::plan::Distribution;

const STUDIES: u64 = 40_000;

/// The sorted maxima of `k` draws each, one study a replication.
fn maxima(distribution: &Distribution, k: u64) -> Vec<f64> {
    let purpose = Purpose::named("oracle.21");
    let mut maxima: Vec<f64> = (0..STUDIES)
        .map(|study| {
            let random = Random::new(21, study);
            (0..k).map(|pod| distribution.draw(&random, purpose, pod).seconds()).fold(0.0, f64::max)
        })
        .collect();
    maxima.sort_by(f64::total_cmp);
    maxima
}

/// Whether the 99.9 % order-statistic interval of the quantile `p` covers `expected`, to the digits it is given with.
fn covers(sorted: &[f64], p: f64, expected: f64, rounding: f64) -> bool {
    let n = sorted.len() as f64;
    let half = 3.29 * (n * p * (1.0 - p)).sqrt();
    let (low, high) = ((n * p - half) as usize, (n * p + half).ceil() as usize);
    (sorted[low] - rounding..=sorted[high.min(sorted.len() - 1)] + rounding).contains(&expected)
}

#[test]
fn oracle_21_the_last_of_k_lognormals() {
    let boot = Distribution::Lognormal { median: Span::from_secs(45), sigma: 0.15 };
    let table = [(1, 45.0, 57.6), (5, 53.3, 63.7), (20, 59.2, 68.5), (100, 65.1, 73.6)];
    for (k, median, p95) in table {
        let maxima = maxima(&boot, k);
        assert!(covers(&maxima, 0.5, median, 0.05), "p50 of {k}: {}", maxima[maxima.len() / 2]);
        assert!(covers(&maxima, 0.95, p95, 0.05), "p95 of {k}");
    }
}

#[test]
fn oracle_21_the_last_of_k_exponentials_and_uniforms() {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let exponential = Distribution::Exponential { mean: Span::from_secs(10) };
    // The maximum of k exponentials of mean m has mean m H_k and variance m^2 (1 + 1/4 + ... + 1/k^2).
    for (k, harmonic, squares) in [(5u64, 2.2833, 1.4636), (20, 3.5977, 1.5962)] {
        let within = 3.29 * 10.0 * f64::sqrt(squares / STUDIES as f64) + 0.0005;
        assert!((mean(&maxima(&exponential, k)) - 10.0 * harmonic).abs() < within, "H_{k}");
    }
    let uniform = Distribution::Uniform(Span::ZERO, Span::from_secs(15));
    for k in [1u64, 3, 10] {
        let (n, expected) = (k as f64, 15.0 * k as f64 / (k as f64 + 1.0));
        let variance = 225.0 * n / ((n + 1.0) * (n + 1.0) * (n + 2.0));
        assert!(
            (mean(&maxima(&uniform, k)) - expected).abs() < 3.29 * (variance / STUDIES as f64).sqrt(),
            "{k} uniforms"
        );
    }
}
