//! Spot pools: shocks that interrupt all instances of a type in a zone.

use crate::components::Cx;

/// Its memory.
#[derive(Default)]
pub struct SpotMarket {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A shock strikes the pool (type and zone position).
    Shock(u32),
}

impl SpotMarket {
    /// Schedules the first events.
    pub fn start(&mut self, _cx: &mut Cx) {}

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, _cx: &mut Cx, _event: Event) {}
}
