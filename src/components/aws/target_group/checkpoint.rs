//! Checkpoints: what a full reconcile has done, so that it is not done again; and reconciles that are deferred.
//!
//! A reconcile that finds its checkpoint unchanged does nothing, and has a full one made half an hour later, unless this
//! process has fully reconciled or deferred the binding within ten hours: in practice only after a restart.
//!
//! Source: aws-load-balancer-controller `pkg/targetgroupbinding/utils.go` (`calculateTGBReconcileCheckpoint`),
//! `controllers/elbv2/targetgroupbinding_deferred_reconciler.go`. The real checkpoint is SHA-256 of the sorted targets.

use super::annotations::Second;
use super::objects::{Binding, BindingPatch, BindingSpec, Name};
use super::resolver::Wanted;
use crate::engine::{Span, StableHasher, Time};
use std::collections::BTreeMap;
use std::hash::Hasher;
use std::rc::Rc;

/// One hash a target, added up: then their order makes no difference, and a target can be taken out again. Two sums of
/// different beginnings are 128 bits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums([u64; 2]);

impl Sums {
    /// The sums of targets.
    pub fn of(wanted: &[Wanted]) -> Sums {
        let mut sums = Sums::default();
        wanted.iter().for_each(|want| sums.add(want));
        sums
    }

    /// A target comes.
    pub fn add(&mut self, want: &Wanted) {
        let [one, two] = hashes(want);
        self.0 = [self.0[0].wrapping_add(one), self.0[1].wrapping_add(two)];
    }

    /// A target that was added goes.
    pub fn take(&mut self, want: &Wanted) {
        let [one, two] = hashes(want);
        self.0 = [self.0[0].wrapping_sub(one), self.0[1].wrapping_sub(two)];
    }

    /// The checkpoint of a binding whose targets should be these, so many.
    pub fn checkpoint(self, spec: &BindingSpec, count: usize) -> Rc<str> {
        let mut hasher = StableHasher::from(spec.text.hash_value());
        hasher.write_u64(count as u64);
        let digits = hexadecimal(self.0.map(|sum| sum ^ hasher.finish()));
        std::str::from_utf8(&digits).unwrap_or_default().into()
    }
}

/// The checkpoint of a binding whose targets should be these, in any order.
pub fn checkpoint(binding: &Binding, wanted: &[Wanted]) -> Rc<str> {
    Sums::of(wanted).checkpoint(&binding.spec, wanted.len())
}

/// The hashes of a target.
fn hashes(want: &Wanted) -> [u64; 2] {
    let (hasher, created) = (StableHasher::from(want.id.hash_value()), want.behind.created_millis());
    [0_u64, 1].map(|beginning| {
        let mut hasher = hasher;
        hasher.write_u64(u64::from(want.port) | beginning << 32);
        hasher.write_u64(created);
        stir(hasher.finish())
    })
}

/// Checkpoints are made at each reconcile: formatting would be most of their cost.
fn hexadecimal(words: [u64; 2]) -> [u8; 32] {
    let [one, two] = words.map(|word| [eight_digits((word >> 32) as u32), eight_digits(word as u32)]);
    let mut digits = [0; 32];
    for (place, eight) in digits.as_chunks_mut::<8>().0.iter_mut().zip([one[0], one[1], two[0], two[1]]) {
        *place = eight;
    }
    digits
}

/// All eight digits at once, each in a byte of its own.
fn eight_digits(value: u32) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut digits = u64::from(value);
    digits = (digits | digits << 16) & 0x0000_ffff_0000_ffff;
    digits = (digits | digits << 8) & 0x00ff_00ff_00ff_00ff;
    digits = (digits | digits << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = (digits + 6 * ONES) >> 4 & ONES;
    (digits + u64::from(b'0') * ONES + u64::from(b'a' - b'0' - 10) * letters).to_be_bytes()
}

/// Every bit moves every other, so that sums do not cancel (the finaliser of splitmix64).
fn stir(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The patch that saves a checkpoint; its timestamp has whole seconds.
pub fn save(copy: &Binding, checkpoint: &Rc<str>, now: Time) -> BindingPatch {
    let (known, second) = (&copy.annotations, Second::Number(now.micros() / 1_000_000));
    BindingPatch {
        checkpoint: (known.checkpoint.as_ref() != Some(checkpoint)).then(|| checkpoint.clone()),
        written: (known.written.as_ref() != Some(&second)).then_some(second),
        ..BindingPatch::default()
    }
}

/// Bindings whose full reconcile is deferred, and those that were reconciled or deferred lately.
#[derive(Clone, Debug, Default)]
pub struct Deferred {
    due: BTreeMap<Name, Time>,
    processed: BTreeMap<Name, Time>,
}

impl Deferred {
    /// A reconcile was skipped: a full one follows `delay` later, unless there was one within `memory`.
    pub fn skipped(&mut self, name: &Name, now: Time, delay: impl FnOnce() -> Span, memory: Span) {
        if !self.is_processed(name, now) {
            self.process(name, now + memory);
            self.defer(name, now + delay());
        }
    }

    /// A reconcile was made in full.
    pub fn reconciled(&mut self, name: &Name, now: Time, memory: Span) {
        if !self.is_processed(name, now) {
            self.process(name, now + memory);
        }
    }

    /// Hours pass between two of these.
    #[cold]
    fn process(&mut self, name: &Name, until: Time) {
        self.processed.insert(name.clone(), until);
    }

    #[cold]
    fn defer(&mut self, name: &Name, due: Time) {
        self.due.entry(name.clone()).and_modify(|at| *at = due.min(*at)).or_insert(due);
    }

    fn is_processed(&self, name: &Name, now: Time) -> bool {
        self.processed.get(name).is_some_and(|&until| now < until)
    }

    /// When the next deferred one is due.
    pub fn due(&self) -> Option<Time> {
        if self.due.is_empty() { None } else { self.due.values().copied().min() }
    }

    /// One that is due, the earliest first.
    pub fn take(&mut self, now: Time) -> Option<Name> {
        if self.due.is_empty() {
            return None;
        }
        let due = self.due.iter().filter(|&(_, &at)| at <= now);
        let name = due.min_by_key(|&(_, &at)| at)?.0.clone();
        self.due.remove(&name);
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::objects::Pod;
    use super::super::resolver::Behind;
    use super::*;

    #[test]
    fn a_checkpoint_tells_targets_apart_and_not_their_order() {
        let spec = crate::plan::TargetGroupBindingSpec {
            namespace: String::from("web"),
            name: String::from("front"),
            target_group_reference: String::new(),
            target_group: crate::plan::TargetGroupId(0),
            service_name: String::from("web"),
            service_port: String::from("http"),
            instance_targets: false,
            node_selector: None,
        };
        let with = |text: &str| Binding::new(Name::new("web", "front"), BindingSpec::of(&spec, text));
        let binding = with("spec");
        let want = |id: &str, port, created_millis| {
            let pod = Pod {
                name: Name::new("web", id),
                uid: "".into(),
                created: Time::ZERO + Span::from_millis(created_millis),
                node: "".into(),
                gates: Vec::new(),
                containers_ready: false,
                conditions: Vec::new(),
                other: "".into(),
            };
            Wanted { id: id.into(), port, is_gated: false, behind: Behind::Pod(Rc::new(pod)) }
        };
        let (one, two) = (want("10.0.0.1", 80, 1_000), want("10.0.0.2", 80, 2_000));
        let both = checkpoint(&binding, &[one.clone(), two.clone()]);
        assert_eq!(both, checkpoint(&binding, &[two.clone(), one.clone()]));
        let others = [
            checkpoint(&binding, &[]),
            checkpoint(&binding, std::slice::from_ref(&one)),
            checkpoint(&binding, &[want("10.0.0.1", 80, 2_000), want("10.0.0.2", 80, 1_000)]),
            checkpoint(&binding, &[want("10.0.0.1", 81, 1_000), two.clone()]),
            checkpoint(&binding, &[one.clone(), one.clone()]),
            checkpoint(&with("another spec"), &[one, two]),
        ];
        assert!(others.iter().all(|other| *other != both), "{others:?}");
        assert_eq!(&hexadecimal([0x0123_4567_89ab_cdef, 1]), b"0123456789abcdef0000000000000001");
    }
}
