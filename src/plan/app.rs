//! What manifests do not say: how much work a request is, how an application starts and stops, and the traffic it gets.

use super::clients::Clients;
use super::ids::{DeploymentId, TargetGroupId};
use super::timing::Distribution;
use super::work::Demand;
use crate::engine::{Span, Time};
use crate::rules::quantity::Millicores;

/// The load model of one Deployment's pods, and the traffic offered to it.
#[derive(Clone, Debug, PartialEq)]
pub struct App {
    /// Name in the scenario (the Deployment's).
    pub name: String,
    /// Whose pods serve.
    pub deployment: DeploymentId,
    /// Target group through which requests come; `None`: straight to all ready endpoints.
    pub target_group: Option<TargetGroupId>,
    /// CPU one request needs, the mean.
    pub cpu_per_request: Span,
    /// Time in a request that needs no CPU (database, network), the mean.
    pub wait_per_request: Span,
    /// How that varies.
    pub demand: Demand,
    /// Requests served at once by a pod; more wait in its queue.
    pub workers: u32,
    /// Requests that may wait in a pod; more are refused (503 by the application).
    pub queue: u32,
    /// From container start until it answers requests and probes.
    pub start: Distribution,
    /// From SIGTERM until the process has gone (in-flight requests are cut off unless `drains`).
    pub stop: Distribution,
    /// What becomes of requests after SIGTERM.
    pub drains: Drains,
    /// CPU used while idle.
    pub idle_cpu: Millicores,
    /// Resident memory, bytes.
    pub memory: i64,
    /// The scenario says it; otherwise it is taken to be what is requested, and no advice can be made of it.
    pub memory_is_given: bool,
    /// A response slower than this is slow.
    pub latency_objective: Span,
    /// Load as a number of cores shared by the ready pods, instead of requests.
    pub cores: Option<Curve>,
    /// With `cores`: what one ready pod takes at most, all it uses included; pods that are not ready use `idle_cpu`.
    /// `None`: the limit of its container, or one core, and `idle_cpu` comes on top of each share.
    pub cores_per_pod: Option<f64>,
    /// With `cores`: applications of the same number share one load among all their ready pods.
    pub load_group: Option<u32>,
    /// Requests a second over time, or users in a closed loop.
    pub traffic: Curve,
    /// Who sends them.
    pub clients: Clients,
    /// How traffic is simulated.
    pub mode: TrafficMode,
    /// Probes by HTTP or gRPC wait for a worker, as requests do. `None`: they are answered by somebody else.
    pub probes_wait: Option<bool>,
    /// It closes connections that were idle for so long. `None`: the load balancer closes them before.
    pub keep_alive: Option<Span>,
}

/// What an application does after SIGTERM, until its time to stop is over.
///
/// Source: Go `net/http` `Server.Shutdown`, nginx `control` (quit), Apache httpd `stopping` (graceful-stop): the listeners
/// are closed first, then what is in flight is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Drains {
    /// It ends: what is in flight is cut off, new connections are refused.
    #[default]
    No,
    /// It closes its listener and finishes what is in flight: new connections are refused.
    InFlight,
    /// It goes on accepting as long as it is there, and finishes what is in flight.
    Listening,
}

impl App {
    /// Requests a second that clients send at `at`: in a closed loop, if every answer comes without waiting in line.
    pub fn rate_at(&self, at: Time) -> f64 {
        let level = self.traffic.at(at);
        let Some(think) = &self.clients.think else { return level };
        level / (think.mean() + self.wait_per_request + self.cpu_per_request).seconds().max(1e-6)
    }

    /// Requests in flight at SIGTERM are finished.
    pub fn finishes(&self) -> bool {
        self.drains != Drains::No
    }

    /// Probes by HTTP or gRPC wait for a worker.
    pub fn probes_wait(&self) -> bool {
        self.probes_wait.unwrap_or(false)
    }

    /// It accepts connections after SIGTERM.
    pub fn keeps_listening(&self) -> bool {
        self.drains == Drains::Listening
    }
}

/// Request level or fluid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TrafficMode {
    /// Every request is an event: arrival, routing, service, outcome.
    #[default]
    Requests,
    /// Rates flow; for very large loads and many replications.
    Fluid,
}

/// A quantity over time: linear between points, constant before the first and after the last. Two points at one instant
/// make a step; the later holds.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Curve {
    /// Instants (ascending) and values.
    pub points: Vec<(Time, f64)>,
}

impl Curve {
    /// The value at `at` (after a step at that instant).
    pub fn at(&self, at: Time) -> f64 {
        let after = self.points.partition_point(|&(time, _)| time <= at);
        let Some(&(next_time, next)) = self.points.get(after) else {
            return self.points.last().map_or(0.0, |&(_, value)| value);
        };
        let Some(&(time, value)) = after.checked_sub(1).and_then(|index| self.points.get(index)) else { return next };
        let share = (at - time).seconds() / (next_time - time).seconds();
        value + (next - value) * share
    }

    /// Instants at which the slope or the value changes.
    pub fn corners(&self) -> impl Iterator<Item = Time> + '_ {
        self.points.iter().map(|&(time, _)| time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_ramps() {
        let second = Time::from_unix_seconds;
        let curve = Curve { points: vec![(second(0), 8.0), (second(10), 8.0), (second(10), 30.0), (second(20), 10.0)] };
        assert_eq!(curve.at(second(5)), 8.0);
        assert_eq!(curve.at(second(10)), 30.0);
        assert_eq!(curve.at(second(15)), 20.0);
        assert_eq!(curve.at(second(99)), 10.0);
        assert_eq!(Curve::default().at(second(1)), 0.0);
    }
}
