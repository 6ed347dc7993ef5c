//! Requests that share CPU while each of them costs more the more there are: the steady state.
//!
//! A birth and death process: arrivals at a rate, ends at the rate that the CPU in use gives divided by what a request costs
//! in that crowd. Processor sharing makes it hold for work of any distribution.

use super::server::CORE;
use crate::engine::Span;
use crate::plan::Rise;

/// Terms below this part of the sum count as nothing.
const NEGLIGIBLE: f64 = 1e-12;

/// Arrivals at `rate` a second that compute `cpu` each on `nanocores`: the CPU that one of them costs and the time that it
/// takes. `None`: more than can be served.
pub fn steady(rate: f64, cpu: f64, nanocores: u64, rise: Rise) -> Option<(f64, Span)> {
    let cores = nanocores as f64 / CORE as f64;
    let used = |count: f64| count.min(cores);
    let ratio = |count: f64| rate * cpu * rise.factor(count) / used(count);
    // From here on nothing changes any more with one more request.
    let last = f64::from(rise.at.max(2)).max(cores.ceil());
    let tail = ratio(last);
    if tail >= 1.0 || rate <= 0.0 || cpu <= 0.0 {
        return (rate <= 0.0 || cpu <= 0.0).then_some((cpu, Span::from_seconds(cpu)));
    }
    let (mut term, mut count) = (1.0, 0.0);
    let (mut sum, mut present, mut busy) = (1.0, 0.0, 0.0);
    while count < last && (term > sum * NEGLIGIBLE || ratio(count + 1.0) > 1.0) {
        count += 1.0;
        term *= ratio(count);
        sum += term;
        present += count * term;
        busy += used(count) * term;
        if sum > 1e200 {
            (term, sum, present, busy) = (term / 1e200, sum / 1e200, present / 1e200, busy / 1e200);
        }
    }
    if count >= last {
        let beyond = term * tail / (1.0 - tail);
        sum += beyond;
        present += count * beyond + beyond / (1.0 - tail);
        busy += used(count) * beyond;
    }
    Some((busy / sum / rate, Span::from_seconds(present / sum / rate)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_rise_it_is_processor_sharing_on_one_core_and_erlang_on_many() {
        let flat = Rise { by: 0.0, at: 2 };
        let (cpu, time) = steady(0.8, 1.0, CORE, flat).unwrap();
        assert!((cpu - 1.0).abs() < 1e-9 && (time.seconds() - 5.0).abs() < 1e-5, "{cpu} {time}");
        let (_, time) = steady(8.0, 1.0, 10 * CORE, flat).unwrap();
        assert!((time.seconds() - 1.20459).abs() < 1e-5, "oracle 10: {time}");
        assert_eq!(steady(1.0, 1.0, CORE, flat), None);
    }

    #[test]
    fn a_crowd_that_stalls_itself_is_found() {
        // Half more work for two or more: 0.7 of a core alone is 1.05 in company.
        assert_eq!(steady(0.7, 1.0, CORE, Rise { by: 0.5, at: 2 }), None);
        // By hand: weights 1, 0.5, and from then on a factor of 0.75 each.
        let (cpu, time) = steady(0.5, 1.0, CORE, Rise { by: 0.5, at: 2 }).unwrap();
        let (sum, present) = (1.0 + 0.5 / 0.25, 0.5 / 0.25 / 0.25);
        assert!((time.seconds() - present / sum / 0.5).abs() < 1e-5, "{time}");
        assert!((cpu - (sum - 1.0) / sum / 0.5).abs() < 1e-9, "{cpu}");
    }
}
