//! Checkpoints: what a full reconcile has done, so that it is not done again; and reconciles that are deferred.
//!
//! A reconcile that finds its checkpoint unchanged does nothing, and has a full one made half an hour later, unless this
//! process has fully reconciled or deferred the binding within ten hours: in practice only after a restart.
//!
//! Source: aws-load-balancer-controller `pkg/targetgroupbinding/utils.go` (`calculateTGBReconcileCheckpoint`),
//! `controllers/elbv2/targetgroupbinding_deferred_reconciler.go`. The real checkpoint is a hash; here it is the text.

use super::objects::{Binding, BindingPatch, CHECKPOINT, CHECKPOINT_TIMESTAMP, Name};
use super::resolver::Wanted;
use crate::engine::{Span, Time};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The checkpoint of a binding whose targets should be these.
pub fn checkpoint(binding: &Binding, wanted: &[Wanted]) -> Arc<str> {
    // The lines stand one behind the other in one text, so that each needs no text of its own.
    let (mut text, mut ends) = (String::with_capacity(wanted.len() * 40), Vec::with_capacity(wanted.len()));
    for want in wanted {
        let start = text.len();
        text.push_str(&want.id);
        text.push(':');
        push_decimal(&mut text, u64::from(want.port));
        text.push(':');
        push_decimal(&mut text, want.created_millis);
        ends.push((start, text.len()));
    }
    let mut lines: Vec<&str> = ends.into_iter().map(|(start, end)| &text[start..end]).collect();
    lines.sort_unstable();
    let mut sorted = String::with_capacity(text.len() + lines.len() + 1 + binding.spec.text.len());
    for (index, line) in lines.into_iter().enumerate() {
        if index > 0 {
            sorted.push(',');
        }
        sorted.push_str(line);
    }
    sorted.push('/');
    sorted.push_str(&binding.spec.text);
    sorted.into()
}

/// Appends a number. Checkpoints are made at each reconcile, of all targets: formatting was most of their cost.
fn push_decimal(text: &mut String, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.push_str(std::str::from_utf8(&digits[first..]).expect("digits are text"));
}

/// The patch that saves a checkpoint; its timestamp has whole seconds.
pub fn save(copy: &Binding, checkpoint: &Arc<str>, now: Time) -> BindingPatch {
    let second: Arc<str> = (now.micros() / 1_000_000).to_string().into();
    let annotations = [(CHECKPOINT, checkpoint.clone()), (CHECKPOINT_TIMESTAMP, second)];
    let differs = |(name, value): &(&str, Arc<str>)| copy.annotations.get(*name) != Some(value);
    let annotations = annotations.into_iter().filter(differs).map(|(name, value)| (name.into(), value));
    BindingPatch { annotations: annotations.collect(), ..BindingPatch::default() }
}

/// Bindings whose full reconcile is deferred, and those that were reconciled or deferred lately.
#[derive(Clone, Debug, Default)]
pub struct Deferred {
    due: BTreeMap<Name, Time>,
    processed: BTreeMap<Name, Time>,
}

impl Deferred {
    /// A reconcile was skipped: a full one follows `delay` later, unless there was one within `memory`.
    pub fn skipped(&mut self, name: &Name, now: Time, delay: Span, memory: Span) {
        if !self.is_processed(name, now) {
            self.processed.insert(name.clone(), now + memory);
            let due = now + delay;
            self.due.entry(name.clone()).and_modify(|at| *at = due.min(*at)).or_insert(due);
        }
    }

    /// A reconcile was made in full.
    pub fn reconciled(&mut self, name: &Name, now: Time, memory: Span) {
        if !self.is_processed(name, now) {
            self.processed.insert(name.clone(), now + memory);
        }
    }

    fn is_processed(&self, name: &Name, now: Time) -> bool {
        self.processed.get(name).is_some_and(|&until| now < until)
    }

    /// When the next deferred one is due.
    pub fn due(&self) -> Option<Time> {
        self.due.values().copied().min()
    }

    /// One that is due, the earliest first.
    pub fn take(&mut self, now: Time) -> Option<Name> {
        let due = self.due.iter().filter(|&(_, &at)| at <= now);
        let name = due.min_by_key(|&(_, &at)| at)?.0.clone();
        self.due.remove(&name);
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, 10, 80, 1_700_000_000_123, u64::MAX] {
            let mut text = String::from("a:");
            push_decimal(&mut text, number);
            assert_eq!(text, format!("a:{number}"));
        }
    }
}
