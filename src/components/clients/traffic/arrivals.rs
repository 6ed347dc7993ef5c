//! When the next request comes: the instant at which the integral of the rate has grown by what is still needed.

use crate::engine::logarithm::ln;
use crate::engine::{Span, Time};
use crate::plan::Curve;

/// The arrival process of one application.
#[derive(Clone, Debug)]
pub struct Arrivals {
    curve: Curve,
    /// The integral was taken up to here.
    at: Time,
    /// Requests that the integral must still grow by until the next arrival.
    need: f64,
    /// The stretch in which `at` lies: its end, its rate at `at`'s start and its slope a second.
    stretch: Stretch,
}

#[derive(Clone, Copy, Debug)]
struct Stretch {
    start: Time,
    end: Time,
    rate: f64,
    slope: f64,
}

impl Arrivals {
    /// From `start` on; the first request after half a request, so that evenly spaced arrivals lie in the middle.
    pub fn new(curve: Curve, start: Time, need: f64) -> Arrivals {
        let stretch = stretch(&curve, start);
        Arrivals { curve, at: start, need, stretch }
    }

    /// From `now` on the load is another.
    pub fn replace(&mut self, now: Time, curve: Curve) {
        self.pass(now);
        self.at = now;
        self.curve = curve;
        self.stretch = stretch(&self.curve, now);
    }

    /// The mean rate from here to the end of the next step, and that end: a straight level stretch is one step, a ramp
    /// is cut at multiples of `step` from `origin`. `None` as the end: for ever.
    pub fn step(&mut self, origin: Time, step: Span) -> (f64, Option<Time>) {
        let end = self.stretch.end;
        if self.stretch.slope == 0.0 {
            let rate = self.stretch.rate;
            self.pass(end.min(Time::from_micros(u64::MAX - 1)));
            return (rate, (end < Time::MAX).then_some(end));
        }
        let steps = self.at.since(origin).micros() / step.micros().max(1) + 1;
        let end = end.min(origin + step * steps);
        let (before, seconds) = (self.need, (end - self.at).seconds());
        self.pass(end);
        let area = before - self.need;
        self.need = 0.0;
        (area / seconds, Some(end))
    }

    /// The instant of the next arrival; `None`: never.
    pub fn next(&mut self) -> Option<Time> {
        loop {
            if let Some(span) = crossing(self.rate(), self.stretch.slope, self.need)
                && self.at + span <= self.stretch.end
                && span < Span::MAX
            {
                return Some(self.at + span);
            }
            if self.stretch.end == Time::MAX {
                return None;
            }
            self.pass(self.stretch.end);
        }
    }

    /// The request at `now` has come; the next needs so much more.
    pub fn arrived(&mut self, now: Time, need: f64) {
        if self.stretch.slope == 0.0 && now < self.stretch.end {
            // Within a level stretch, which is where nearly all arrivals are.
            self.need -= self.stretch.rate * now.since(self.at).seconds();
            self.at = now;
        } else {
            self.pass(now);
        }
        self.need += need;
    }

    /// The rate at `at`.
    fn rate(&self) -> f64 {
        if self.stretch.slope == 0.0 {
            return self.stretch.rate;
        }
        self.stretch.rate + self.stretch.slope * self.at.since(self.stretch.start).seconds()
    }

    /// Takes the integral up to `to`.
    fn pass(&mut self, to: Time) {
        while self.at < to {
            if self.at >= self.stretch.end {
                self.stretch = stretch(&self.curve, self.at);
            }
            let end = to.min(self.stretch.end);
            let seconds = (end - self.at).seconds();
            let rate = self.rate();
            self.need -= (rate + self.stretch.slope * seconds / 2.0) * seconds;
            self.at = end;
        }
        if self.at >= self.stretch.end && self.stretch.end != Time::MAX {
            self.stretch = stretch(&self.curve, self.at);
        }
    }
}

/// A gap between two arrivals of mean 1 and the given coefficient of variation, from a uniform number.
///
/// 1 is exponential: Poisson. Below 1 an exponential part follows a constant one; above it is one of two exponentials with
/// balanced means (Tijms, "A First Course in Stochastic Models", appendix B): many short gaps and few long ones.
#[inline(always)]
pub fn gap(variation: f64, uniform: f64) -> f64 {
    if variation <= 1.0 {
        return (1.0 - variation) - variation * ln(1.0 - uniform);
    }
    let square = variation * variation;
    let spread = ((square - 1.0) / (square + 1.0)).sqrt();
    let (often, rare) = ((1.0 + spread) / 2.0, (1.0 - spread) / 2.0);
    // One uniform chooses the part and the value within it.
    let (part, rest) = if uniform < often { (often, uniform / often) } else { (rare, (uniform - often) / rare) };
    -ln(1.0 - rest) / (2.0 * part)
}

/// The straight stretch of a curve that begins at or contains `at`.
fn stretch(curve: &Curve, at: Time) -> Stretch {
    let after = curve.points.partition_point(|&(time, _)| time <= at);
    let rate = curve.at(at).max(0.0);
    match (after.checked_sub(1).map(|index| curve.points[index]), curve.points.get(after)) {
        (Some((time, value)), Some(&(end, next))) => {
            Stretch { start: at, end, rate, slope: (next - value) / (end - time).seconds() }
        }
        (None, Some(&(end, _))) => Stretch { start: at, end, rate, slope: 0.0 },
        (_, None) => Stretch { start: at, end: Time::MAX, rate, slope: 0.0 },
    }
}

/// How long until the integral of a rate that changes by `slope` a second has grown by `need`.
fn crossing(rate: f64, slope: f64, need: f64) -> Option<Span> {
    if need <= 0.0 {
        return Some(Span::ZERO);
    }
    if slope == 0.0 {
        return (rate > 0.0).then(|| Span::from_seconds(need / rate));
    }
    // rate t + slope t^2 / 2 = need; this form loses no digits when the slope is small.
    let root = rate * rate + 2.0 * slope * need;
    let seconds = 2.0 * need / (rate + root.sqrt());
    (root >= 0.0 && seconds > 0.0).then(|| Span::from_seconds(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(seconds: u64) -> Time {
        Time::from_unix_seconds(seconds)
    }

    fn all(curve: Curve, until: Time) -> Vec<Time> {
        let mut arrivals = Arrivals::new(curve, second(0), 0.5);
        let mut times = Vec::new();
        while let Some(at) = arrivals.next().filter(|&at| at <= until) {
            times.push(at);
            arrivals.arrived(at, 1.0);
        }
        times
    }

    #[test]
    fn a_constant_rate_is_evenly_spaced_without_drift() {
        let times = all(Curve { points: vec![(second(0), 3.0)] }, second(3600));
        assert_eq!(times.len(), 3 * 3600);
        for (number, at) in times.iter().enumerate() {
            let exact = (number as f64 + 0.5) / 3.0 * 1e6;
            assert!((at.micros() as f64 - exact).abs() <= 1.0, "arrival {number} at {at:?}");
        }
    }

    #[test]
    fn a_ramp_and_a_step_bring_as_many_requests_as_their_area() {
        let points =
            vec![(second(0), 0.0), (second(10), 8.0), (second(10), 20.0), (second(20), 20.0), (second(20), 0.0)];
        let times = all(Curve { points }, second(100));
        assert_eq!(times.len(), 40 + 200);
        assert_eq!(times.iter().filter(|&&at| at <= second(5)).count(), 10, "a quarter of the ramp's area");
        assert_eq!(times[40], second(10) + Span::from_millis(25), "half a request after the step");
    }

    #[test]
    fn gaps_have_mean_one_and_the_variation_asked_for() {
        for variation in [0.0, 0.5, 1.0, 1.1, 3.0, 13.0] {
            let count = 1_000_000;
            let gaps = (0..count).map(|index| gap(variation, (f64::from(index) + 0.5) / f64::from(count)));
            let (sum, squares) = gaps.fold((0.0, 0.0), |(sum, squares), gap| (sum + gap, squares + gap * gap));
            let mean = sum / f64::from(count);
            let found = (squares / f64::from(count) - mean * mean).max(0.0).sqrt();
            assert!((mean - 1.0).abs() < 0.001, "{variation}: mean {mean}");
            assert!((found - variation).abs() < 0.01 * variation.max(0.1), "{variation}: {found}");
        }
    }

    #[test]
    fn no_load_never_sends_anything() {
        assert_eq!(Arrivals::new(Curve::default(), second(0), 0.5).next(), None);
    }

    #[test]
    fn steps_of_a_ramp_carry_its_mean() {
        let curve = Curve { points: vec![(second(0), 0.0), (second(10), 10.0), (second(10), 7.0)] };
        let mut arrivals = Arrivals::new(curve, second(2), 0.0);
        let step = Span::from_secs(4);
        assert_eq!(arrivals.step(second(0), step), (3.0, Some(second(4))));
        assert_eq!(arrivals.step(second(0), step), (6.0, Some(second(8))));
        assert_eq!(arrivals.step(second(0), step), (9.0, Some(second(10))));
        assert_eq!(arrivals.step(second(0), step), (7.0, None));
    }
}
