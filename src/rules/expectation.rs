//! Expectations as users write them: `p95(time_to_serve) <= 3m`, `time_to_serve in 2m..3m`,
//! `share(lost_requests > 0) <= 1%`.
//!
//! Here is the text and its meaning; `analysis::expectation` holds it against measured values.
//!
//! ```text
//! expectation = subject [scope] bound [scope]
//! subject     = measure | statistic "(" measure ")" | "share" "(" measure comparison value ")"
//! statistic   = "mean" | "median" | "min" | "max" | "p" number
//! bound       = comparison value | "in" value ".." value
//! scope       = "of step" number | "of deployment" name | "of window" value ".." value, any number of them
//! value       = 3m, 2m18.5s, 150ms | 12, 0.5 | 1%, at most 100% | $0.25
//! ```

mod reader;

pub use reader::{parse, parse_quantity};

use std::fmt;

/// Where and why a text is no expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectationError {
    /// Byte offset in the text.
    pub offset: usize,
    /// What is wrong, a lower-case fragment.
    pub message: String,
    /// What to write instead, if it can be guessed.
    pub suggestion: Option<String>,
}

impl fmt::Display for ExpectationError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (at character {})", self.message, self.offset + 1)?;
        self.suggestion.as_ref().map_or(Ok(()), |suggestion| write!(formatter, "; try `{suggestion}`"))
    }
}

impl std::error::Error for ExpectationError {}

/// A statement about a measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// As written.
    pub text: String,
    /// What is measured.
    pub subject: Subject,
    /// What it must be.
    pub bound: Bound,
    /// Which part of a run it is about.
    pub scope: Scope,
}

impl Expectation {
    /// Whether both are about one number: they may bound it differently.
    pub fn measures_the_same(&self, other: &Expectation) -> bool {
        self.subject == other.subject && self.scope == other.scope
    }
}

/// What somebody expects a claim to turn out as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The whole interval meets the bound.
    Holds,
    /// None of it does.
    Fails,
    /// The interval straddles the bound.
    Undecided,
}

impl Verdict {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Holds => "holds",
            Verdict::Fails => "fails",
            Verdict::Undecided => "undecided",
        }
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Subject {
    /// The value of each run.
    Each(Measure),
    /// A statistic over runs.
    Statistic(Statistic, Measure),
    /// The share of runs in which a comparison is true.
    Share(Measure, Comparison, f64),
}

impl Subject {
    /// It speaks of many runs, not of one.
    pub const fn is_about_runs(self) -> bool {
        matches!(self, Subject::Statistic(..) | Subject::Share(..))
    }

    /// The measure that it is about.
    pub const fn measure(self) -> Measure {
        match self {
            Subject::Each(measure) | Subject::Statistic(_, measure) | Subject::Share(measure, _, _) => measure,
        }
    }

    /// The unit of the value that the bound is about.
    pub const fn unit(self) -> Unit {
        match self {
            Subject::Each(measure) | Subject::Statistic(_, measure) => measure.unit(),
            Subject::Share(..) => Unit::Share,
        }
    }
}

/// A statistic over runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    /// Arithmetic mean.
    Mean,
    /// Smallest.
    Min,
    /// Largest.
    Max,
    /// The value that so many percent do not exceed.
    Percentile(f64),
}

/// What the value must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// On one side of a value.
    Compare(Comparison, f64),
    /// From .. to, both included.
    Within(f64, f64),
}

impl Bound {
    /// Does a value meet it?
    pub fn admits(self, value: f64) -> bool {
        match self {
            Bound::Compare(comparison, bound) => comparison.is_true(value, bound),
            Bound::Within(low, high) => low <= value && value <= high,
        }
    }
}

/// How values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
}

impl Comparison {
    /// Longer signs first, so that `<=` is not read as `<`.
    const SIGNS: [(&'static str, Comparison); 9] = [
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("≤", Comparison::LessOrEqual),
        ("≥", Comparison::GreaterOrEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
        ("=", Comparison::Equal),
    ];

    /// Is it true of these two?
    pub fn is_true(self, left: f64, right: f64) -> bool {
        match self {
            Comparison::Less => left < right,
            Comparison::LessOrEqual => left <= right,
            Comparison::Greater => left > right,
            Comparison::GreaterOrEqual => left >= right,
            Comparison::Equal => left == right,
            Comparison::NotEqual => left != right,
        }
    }

    /// As it is written.
    pub const fn sign(self) -> &'static str {
        match self {
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
        }
    }
}

/// Which part of a run.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Scope {
    /// Only this scaling step, from 1.
    pub step: Option<u32>,
    /// Only this Deployment.
    pub deployment: Option<String>,
    /// Only what begins within this part of the run: microseconds after its start, the end not included.
    pub window: Option<(u64, u64)>,
}

/// The unit of a measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// A number of something.
    Count,
    /// A share between 0 and 1.
    Share,
    /// US dollars.
    Dollars,
}

impl Unit {
    /// A value of this unit for people: `2m18.1s`, `3`, `1.5%`, `$0.0421`.
    pub fn show(self, value: f64) -> String {
        if value.is_infinite() {
            return "never".to_string();
        }
        match self {
            Unit::Seconds => show_seconds(value),
            Unit::Count => trimmed(value, 3),
            Unit::Share => format!("{}%", trimmed(value * 100.0, 3)),
            Unit::Dollars => format!("${}", trimmed(value, 6)),
        }
    }
}

fn trimmed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

fn show_seconds(value: f64) -> String {
    let whole = value.abs() as u64;
    let (hours, minutes) = (whole / 3_600, whole % 3_600 / 60);
    let seconds = value.abs() - (whole - whole % 60) as f64;
    let sign = if value < 0.0 { "-" } else { "" };
    match (hours, minutes) {
        (0, 0) if value != 0.0 && seconds < 1.0 => format!("{sign}{}ms", trimmed(seconds * 1_000.0, 3)),
        (0, 0) => format!("{sign}{}s", trimmed(seconds, 3)),
        (0, _) if seconds == 0.0 => format!("{sign}{minutes}m"),
        (0, _) => format!("{sign}{minutes}m{}s", trimmed(seconds, 3)),
        (_, _) => format!("{sign}{hours}h{minutes:02}m{}s", trimmed(seconds, 3)),
    }
}

/// How narrow a part of a run a measure can be told of. What can be told of a part can be told of the wider ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The whole run only.
    Run,
    /// A window of it.
    Window,
    /// One Deployment.
    Deployment,
    /// One scaling step.
    Step,
}

macro_rules! measures {
    ($($(#[doc = $doc:literal])+ $variant:ident $name:literal $unit:ident $part:ident;)*) => {
        /// What can be measured of one run.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Measure {
            $($(#[doc = $doc])+ $variant,)*
        }

        impl Measure {
            /// All measures.
            pub const ALL: &'static [Measure] = &[$(Measure::$variant),*];

            /// As users write it.
            pub const fn name(self) -> &'static str {
                match self { $(Measure::$variant => $name,)* }
            }

            /// Its unit.
            pub const fn unit(self) -> Unit {
                match self { $(Measure::$variant => Unit::$unit,)* }
            }

            /// The narrowest part of a run that it can be told of. `analysis::expectation` tells it so.
            const fn narrowest(self) -> Part {
                match self { $(Measure::$variant => Part::$part,)* }
            }

            /// What it is, a sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Measure::$variant => concat!($($doc),+),)* }
            }
        }
    };
}

measures! {
    /// From the trigger of a scaling step until its last pod is in service, or is let go; the longest.
    TimeToServe "time_to_serve" Seconds Step;
    /// From the begin of the load change, such as of a ramp, to the trigger; of several steps the longest.
    Detection "detection" Seconds Step;
    /// Scaling steps upwards, by autoscalers or users.
    Steps "steps" Count Step;
    /// Requests that arrived.
    OfferedRequests "offered_requests" Count Deployment;
    /// Requests answered.
    ServedRequests "served_requests" Count Deployment;
    /// Requests answered later than the objective.
    SlowRequests "slow_requests" Count Deployment;
    /// Requests that failed.
    LostRequests "lost_requests" Count Deployment;
    /// Requests that failed, as a share of those offered.
    LostShare "lost_share" Share Deployment;
    /// Requests answered late, as a share of those answered.
    SlowShare "slow_share" Share Deployment;
    /// Mean latency of what was answered.
    MeanLatency "mean_latency" Seconds Deployment;
    /// From the request to delete a pod until it is gone; the longest.
    PodTermination "pod_termination" Seconds Deployment;
    /// From deregistration of a target until it has left its group; the longest.
    Drain "drain" Seconds Deployment;
    /// From the moment a node lost its last pod until it is gone; the longest.
    NodeTerminationAfterEmpty "node_termination_after_empty" Seconds Window;
    /// From notice or decision to take a node until the last replacement of its pods is in service; the longest.
    TimeToReplace "time_to_replace" Seconds Window;
    /// Instances launched.
    NodesLaunched "nodes_launched" Count Window;
    /// Instances terminated.
    NodesTerminated "nodes_terminated" Count Window;
    /// Most nodes at one time.
    NodesMax "nodes_max" Count Window;
    /// Nodes at the end.
    NodesEnd "nodes_end" Count Window;
    /// Sum over instances of the seconds they were paid for.
    NodeSeconds "node_seconds" Count Run;
    /// What the instances cost during the run.
    Cost "cost" Dollars Run;
    /// What the instances cost for each million of requests served.
    CostPerMillion "cost_per_million" Dollars Run;
    /// What the nodes cost that were launched to replace others.
    ChurnCost "churn_cost" Dollars Run;
    /// What surplus CPU credits of burstable instances cost.
    SurplusCost "surplus_cost" Dollars Run;
    /// What replacements cost while a node that they replace was still paid for.
    OverlapCost "overlap_cost" Dollars Run;
    /// Nodes launched to replace others.
    NodesReplacing "nodes_replacing" Count Run;
    /// Most nodes that were being drained at one time.
    NodesDrainingMax "nodes_draining_max" Count Run;
    /// Instances launched on demand.
    OnDemandLaunched "on_demand_launched" Count Run;
    /// Launches that found no capacity.
    LaunchesWithoutCapacity "launches_without_capacity" Count Run;
    /// Launches that the EC2 API throttled.
    LaunchesThrottled "launches_throttled" Count Run;
    /// From the start until Karpenter first disrupted a node of its own will (empty, underutilized, drifted).
    FirstDisruption "first_disruption" Seconds Run;
    /// From the start until it did so for the last time.
    LastDisruption "last_disruption" Seconds Run;
    /// Pods without a node: waiting for one at the end, or let go by a scale-down while they waited.
    UnscheduledPods "unscheduled_pods" Count Run;
    /// Most replicas wanted at one time, of all workloads together unless the scope names one.
    ReplicasMax "replicas_max" Count Deployment;
    /// Replicas wanted at the end.
    ReplicasEnd "replicas_end" Count Deployment;
    /// Fewest replicas in service at one time, of all workloads together unless the scope names one.
    InServiceMin "in_service_min" Count Deployment;
    /// Interruption notices.
    Interruptions "interruptions" Count Window;
    /// Pods evicted.
    Evictions "evictions" Count Deployment;
    /// How often an alarm went to ALARM.
    Alarms "alarms" Count Window;
    /// Deployment and ReplicaSet, or StatefulSet, on the critical path: trigger until the pod exists.
    PhaseReplicaSet "phase.replica_set" Seconds Step;
    /// Scheduling on the critical path: until the pod is bound or found unschedulable.
    PhaseScheduling "phase.scheduling" Seconds Step;
    /// The provisioner's batch on the critical path.
    PhaseBatching "phase.batching" Seconds Step;
    /// Launch planning on the critical path: batch closed until the NodeClaim exists.
    PhasePlanning "phase.planning" Seconds Step;
    /// Launch on the critical path: NodeClaim until it has its instance.
    PhaseLaunch "phase.launch" Seconds Step;
    /// Boot on the critical path: instance launched until the Node object exists.
    PhaseBoot "phase.boot" Seconds Step;
    /// Registration on the critical path: Node object until the NodeClaim is registered.
    PhaseRegistration "phase.registration" Seconds Step;
    /// Node readiness on the critical path: registered until Ready.
    PhaseNodeReady "phase.node_ready" Seconds Step;
    /// Binding on the critical path: node ready until the pod is bound.
    PhaseBinding "phase.binding" Seconds Step;
    /// Sandbox on the critical path: bound until the pod has its address.
    PhaseSandbox "phase.sandbox" Seconds Step;
    /// Image pull on the critical path.
    PhaseImagePull "phase.image_pull" Seconds Step;
    /// Container start on the critical path.
    PhaseContainerStart "phase.container_start" Seconds Step;
    /// Readiness on the critical path: container started until Ready.
    PhaseReadiness "phase.readiness" Seconds Step;
    /// Endpoint on the critical path: Ready until the endpoints are written.
    PhaseEndpoint "phase.endpoint" Seconds Step;
    /// Target registration on the critical path.
    PhaseTargetRegistration "phase.target_registration" Seconds Step;
    /// Health check on the critical path: registered until healthy.
    PhaseHealthCheck "phase.health_check" Seconds Step;
    /// First request on the critical path: healthy until the load balancer routes to the pod.
    PhaseFirstRequest "phase.first_request" Seconds Step;
}

impl Measure {
    /// Can it be told for a part of a run?
    pub const fn has_window(self) -> bool {
        match self.narrowest() {
            Part::Window | Part::Deployment | Part::Step => true,
            Part::Run => false,
        }
    }

    /// Can it be told of one Deployment?
    pub const fn has_deployment(self) -> bool {
        match self.narrowest() {
            Part::Deployment | Part::Step => true,
            Part::Run | Part::Window => false,
        }
    }

    /// Can it be told of one scaling step?
    pub const fn has_step(self) -> bool {
        match self.narrowest() {
            Part::Step => true,
            Part::Run | Part::Window | Part::Deployment => false,
        }
    }

    /// Why a run has nothing to measure, where it has not.
    pub fn absent(self) -> &'static str {
        match self {
            Measure::Detection => "no scaling step followed a change of load",
            Measure::MeanLatency | Measure::CostPerMillion => "no request was answered",
            Measure::PodTermination => "no pod was deleted",
            Measure::Drain => "no target was deregistered",
            Measure::NodeTerminationAfterEmpty => "no node of Karpenter's lost its last pod",
            Measure::TimeToReplace => "no node went whose pods had to move",
            Measure::FirstDisruption | Measure::LastDisruption => "Karpenter disrupted no node",
            _ if self == Measure::TimeToServe || self.name().starts_with("phase.") => {
                "there is no such scaling step upwards"
            }
            _ => "there is none in this part of the run",
        }
    }

    fn named(name: &str) -> Option<Measure> {
        Measure::ALL.iter().copied().find(|measure| measure.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(text: &str) -> Bound {
        parse(text).unwrap().bound
    }

    #[test]
    fn reads_the_shapes_of_the_contract() {
        let read = parse("p95(time_to_serve) <= 3m").unwrap();
        assert_eq!(read.subject, Subject::Statistic(Statistic::Percentile(95.0), Measure::TimeToServe));
        assert_eq!(read.bound, Bound::Compare(Comparison::LessOrEqual, 180.0));
        assert_eq!(bound("time_to_serve in 2m..3m"), Bound::Within(120.0, 180.0));
        assert_eq!(bound("time_to_serve in 2m .. 2m18.5s"), Bound::Within(120.0, 138.5));
        let read = parse("share(lost_requests > 0) <= 1%").unwrap();
        assert_eq!(read.subject, Subject::Share(Measure::LostRequests, Comparison::Greater, 0.0));
        assert_eq!(read.bound, Bound::Compare(Comparison::LessOrEqual, 0.01));
        assert_eq!(bound("max(cost)<$0.25"), Bound::Compare(Comparison::Less, 0.25));
        assert_eq!(bound("detection <= 1m30s"), Bound::Compare(Comparison::LessOrEqual, 90.0));
        assert_eq!(bound("lost_requests = 0"), Bound::Compare(Comparison::Equal, 0.0));
    }

    #[test]
    fn a_scope_stands_before_or_after_the_bound() {
        let expected = Scope { step: Some(2), deployment: Some("word-press".to_string()), window: None };
        assert_eq!(parse("time_to_serve <= 3m of step 2 of deployment word-press").unwrap().scope, expected);
        assert_eq!(parse("time_to_serve of deployment word-press of step 2 <= 3m").unwrap().scope, expected);
    }

    #[test]
    fn a_window_is_a_part_of_the_run() {
        let read = parse("share(lost_requests > 0) of window 5m..10m <= 1%").unwrap();
        assert_eq!(read.scope.window, Some((300_000_000, 600_000_000)));
        assert_eq!(parse("lost_requests == 0 of window 10m..5m").unwrap_err().offset, 34);
        assert!(parse("cost <= $1 of window 0s..5m").unwrap_err().message.contains("whole run"));
    }

    /// A scope that is ignored would be a statement about something else than it says.
    #[test]
    fn what_cannot_be_told_of_a_step_or_a_deployment_is_refused_there() {
        let refused = |text: &str, scope: &str| {
            let error = parse(text).unwrap_err();
            assert_eq!(error.offset, text.find(scope).unwrap(), "{text}: {error}");
            error.message
        };
        assert_eq!(refused("cost <= $1 of step 1", "of step"), "cost is told for a whole run only");
        assert_eq!(refused("cost of deployment web <= $1", "of deployment"), "cost is told for a whole run only");
        let of_step = refused("mean_latency <= 1s of deployment web of step 99", "of step");
        assert_eq!(of_step, "mean_latency cannot be told of one scaling step");
        let of_deployment = refused("nodes_max <= 3 of window 1m..2m of deployment web", "of deployment");
        assert_eq!(of_deployment, "nodes_max cannot be told of one Deployment");
        assert!(refused("share(offered_requests > 5) of step 1 >= 5%", "of step").contains("one scaling step"));
        assert!(parse_quantity("mean(cost) of window 0s..5m").unwrap_err().message.contains("whole run"));
        assert!(parse("phase.boot <= 1m of step 1 of deployment web of window 1m..2m").is_ok());
        assert!(parse("evictions == 0 of deployment web of window 1m..2m").is_ok());
    }

    #[test]
    fn errors_say_where_and_what_instead() {
        let wrong = |text: &str| {
            let error = parse(text).unwrap_err();
            (error.offset, error.suggestion)
        };
        assert_eq!(wrong("time_to_server <= 3m"), (0, Some("time_to_serve".to_string())));
        assert_eq!(wrong("p95(lost_request) == 0"), (4, Some("lost_requests".to_string())));
        assert_eq!(wrong("avg(cost) < 1"), (0, Some("mean".to_string())));
        assert_eq!(wrong("time_to_serve <= 180"), (17, Some("180s".to_string())));
        assert_eq!(wrong("time_to_serve 3m"), (14, Some("<=".to_string())));
        assert_eq!(wrong("time_to_serve =< 1m"), (14, Some("<=".to_string())));
        assert_eq!(wrong("share(time_to_serve <= 1m) >= 95"), (30, Some("95%".to_string())));
        assert_eq!(wrong("share(lost_requests > 0) <= 0.01"), (28, Some("1%".to_string())));
        assert_eq!(wrong("share(lost_requests > 0) <= 120%"), (28, Some("100%".to_string())));
        assert_eq!(wrong("p95(lost_share) <= 5"), (19, Some("5%".to_string())));
        assert_eq!(wrong("share(lost_share > -1%) <= 5%").0, 19);
        assert_eq!(bound("lost_share == 0"), Bound::Compare(Comparison::Equal, 0.0));
        assert_eq!(wrong("cost <= 3m"), (8, Some("$0.50".to_string())));
        assert_eq!(wrong("cost <= 25c"), (8, Some("$0.25".to_string())));
        assert_eq!(wrong("time_to_serve <= 3 m"), (17, Some("3m".to_string())));
        assert_eq!(wrong("p95 time_to_serve <= 3m"), (0, Some("p95(time_to_serve)".to_string())));
        assert_eq!(wrong("time_to_serve <= 3m of stap 1"), (23, Some("step".to_string())));
        assert_eq!(wrong("lost_requests == 0 please").0, 19);
        assert_eq!(wrong("share(lost_requests) <= 1%"), (19, Some("share(lost_requests > 0)".to_string())));
        assert_eq!(wrong("p95(lost_requests) <= 1% of step 2"), (4, Some("lost_share".to_string())));
        assert_eq!(wrong("nodes_max <= 1%"), (13, None));
        assert_eq!(wrong("").0, 0);
        assert_eq!(wrong("p95(cost < 3").0, 9);
        assert_eq!(wrong("ärger <= 1").0, 0);
    }

    #[test]
    fn every_measure_can_be_written_and_read() {
        for &measure in Measure::ALL {
            assert_eq!(Measure::named(measure.name()), Some(measure));
            assert!(measure.meaning().trim().ends_with('.'), "{measure:?}");
        }
    }

    #[test]
    fn values_are_shown_as_people_write_them() {
        assert_eq!(Unit::Seconds.show(138.1), "2m18.1s");
        assert_eq!(Unit::Seconds.show(0.25), "250ms");
        assert_eq!(Unit::Seconds.show(180.0), "3m");
        assert_eq!(Unit::Seconds.show(3_661.0), "1h01m1s");
        assert_eq!(Unit::Share.show(0.01), "1%");
        assert_eq!(Unit::Count.show(100.0), "100");
        assert_eq!(Unit::Dollars.show(0.0421), "$0.0421");
        assert_eq!(Unit::Seconds.show(f64::INFINITY), "never");
    }
}
