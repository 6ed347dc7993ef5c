//! cAdvisor, the kubelet's resource endpoint and metrics-server.

use crate::components::Cx;
use crate::world::PodId;

/// Its memory.
#[derive(Default)]
pub struct MetricsServer {}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// metrics-server scrapes all nodes.
    Scrape,
    /// cAdvisor samples a pod.
    Housekeeping(PodId),
}

impl MetricsServer {
    /// Schedules the first events.
    pub fn start(&mut self, _cx: &mut Cx) {}

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, _cx: &mut Cx, _event: Event) {}
}
