//! The running bill of all instances: a meter kept beside them, so that money can be conserved as pods and requests are.
//!
//! In: each start and stop with its price. Out: what all instances together have cost until an instant, without looking
//! at any of them. The law in `check.rs` holds it against their own times. The 60 s minimum is not in it: it is a rule
//! about one instance's bill ([`super::Instance::cost`]), not a rate.

use crate::engine::Time;
use crate::plan::MicroDollars;

/// The meter. Amounts are micro-dollars an hour times microseconds, exact.
#[derive(Clone, Debug, Default)]
pub struct Bill {
    /// Of the running instances together, micro-dollars an hour.
    rate: i128,
    /// Prices times stops, less prices times starts.
    settled: i128,
}

impl Bill {
    /// An instance is paid from now on.
    pub fn begin(&mut self, price: MicroDollars, at: Time) {
        self.rate += i128::from(price.0);
        self.settled -= weighted(price, at);
    }

    /// An instance is paid no longer.
    pub fn end(&mut self, price: MicroDollars, at: Time) {
        self.rate -= i128::from(price.0);
        self.settled += weighted(price, at);
    }

    /// What the running instances cost together.
    pub fn rate(&self) -> i128 {
        self.rate
    }

    /// Everything until `now`, in micro-dollars an hour times microseconds.
    pub fn until(&self, now: Time) -> i128 {
        self.settled + self.rate * i128::from(now.micros())
    }
}

fn weighted(price: MicroDollars, at: Time) -> i128 {
    i128::from(price.0) * i128::from(at.micros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Span;

    #[test]
    fn the_meter_is_price_times_time_of_all_that_ran() {
        let start = Time::from_unix_seconds(1_000);
        let after = |seconds: u64| start + Span::from_secs(seconds);
        let mut bill = Bill::default();
        bill.begin(MicroDollars(41_600), after(0));
        bill.begin(MicroDollars(12_500), after(10));
        bill.end(MicroDollars(41_600), after(60));
        assert_eq!(bill.rate(), 12_500);
        assert_eq!(bill.until(after(100)), (41_600 * 60 + 12_500 * 90) * 1_000_000);
    }
}
