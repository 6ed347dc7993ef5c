//! What each happening is counted from, and what its delay may be wrong by.
//!
//! In: a timeline and one of its happenings. Out: when its own cause was, and the row of the tolerance table that it belongs
//! to. An effect with several preconditions is caused by the last that is met; where one of them is a loop that looks once a
//! second since an event of the same timeline, the look before the effect is a precondition too.

use super::{Happening, Kind, Timeline};

/// What an error may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A constant of a controller.
    Constant,
    /// Ends on a whole second.
    WholeSecond,
    /// Anything else.
    Other,
}

impl Class {
    pub(super) fn of(kind: Kind) -> Class {
        match kind {
            Kind::Synced | Kind::BatchClosed => Class::Constant,
            // Windows, `consolidateAfter` and conditions end on whole seconds.
            Kind::NodeReady | Kind::NodeGone | Kind::Command => Class::WholeSecond,
            _ => Class::Other,
        }
    }

    /// Seconds, where the recording machine's timers lag by so many milliseconds (99th percentile).
    pub(super) fn tolerance(self, lag_ms: f64) -> f64 {
        match self {
            Class::Constant => 0.1 + lag_ms / 1e3,
            Class::WholeSecond => 1.1,
            Class::Other if lag_ms > 30.0 => 1.5,
            Class::Other => 0.5,
        }
    }
}

/// A loop that looks once a second.
const LOOK: i64 = 1_000_000;
/// Of several nodes that are Ready at about the same time the one meant may be earlier than the latest by so much.
const LOOK_SLACK: i64 = 150_000;
/// A NodeClaim's controller rests after at most so many writes between the Ready of its node and Initialized.
const RESTS_MAX: i64 = 3;
/// A command of consolidation is decided so long before it starts. Source: Karpenter core, `consolidationTTL`.
const VALIDATION: i64 = 15_000_000;
/// A batch has been idle for so long when it closes. Source: Karpenter core, `BATCH_IDLE_DURATION`.
const BATCH_IDLE: i64 = 1_000_000;
/// The fake kubelets' controller works on so many pods at a time. Source: KWOK, `podPlayStageParallelism`.
const KUBELET_WORKERS: usize = 4;
/// A recorder reads watches one after the other: a cause may seem to come so much after its effect, microseconds.
const SLACK: i64 = 60_000;

/// What is decided at a look is late where the look is, which comes a second after the end of a write: requests are looked at
/// from so much before the cause on, microseconds.
pub(super) fn writes_before(kind: Kind) -> i64 {
    if matches!(kind, Kind::ClaimInitialized | Kind::ClaimDeleting) { LOOK } else { 0 }
}

/// Where a delay is counted from.
enum Cause {
    /// The latest of these kinds, of whatever subject.
    Latest(&'static [Kind]),
    /// The latest of the first kinds, or of the second ones of the same subject.
    LatestOrOwn(&'static [Kind], Kind),
    /// The latest of these kinds of the same subject.
    Own(&'static [Kind]),
    /// That of the same subject; without one the latest of these kinds.
    OwnOr(Kind, &'static [Kind]),
    /// The latest of the first kinds of the same subject that is strictly earlier; without one the latest of the second.
    Rested(&'static [Kind], &'static [Kind]),
    /// That of the same subject, or the happening of its own kind so many before it, whose worker it takes over.
    Turn(Kind, usize),
    /// That of the same place in the order of its kind.
    Nth(Kind),
    /// The latest of the first kinds or, until so many of them are over, the last look since the latest of the second.
    Looked(&'static [Kind], Kind, i64),
    /// The latest of these kinds that is older than a validation takes.
    Validated(&'static [Kind]),
    /// The latest of these kinds that is older than a batch is idle.
    Idle(&'static [Kind]),
    /// The trigger.
    Trigger,
}

fn cause_of(one: &Happening) -> Cause {
    match one.kind {
        // The period runs from the end of a sync, which the audit log has where that wrote a status.
        Kind::Synced => Cause::Rested(&[Kind::SyncEnded, Kind::Synced], &[Kind::Action]),
        Kind::Scaled => Cause::Latest(&[Kind::Synced, Kind::Action]),
        Kind::PodCreated => Cause::Latest(&[Kind::Scaled, Kind::PodDeleting, Kind::Action]),
        Kind::PodScheduled => Cause::LatestOrOwn(&[Kind::NodeReady, Kind::NodeTaints, Kind::PodGone], Kind::PodCreated),
        Kind::PodAcknowledged => Cause::Turn(Kind::PodScheduled, KUBELET_WORKERS),
        Kind::PodRunning => Cause::Own(&[Kind::PodAcknowledged, Kind::PodScheduled]),
        Kind::PodReady => Cause::Own(&[Kind::PodRunning]),
        // An eviction that was refused comes at the end of its back-off.
        Kind::PodDeleting if one.detail == "eviction" => {
            Cause::OwnOr(Kind::EvictionRefused, &[Kind::NodeDeleting, Kind::PodDeleting])
        }
        Kind::PodDeleting => Cause::Latest(&[Kind::Scaled, Kind::Action, Kind::PodReady]),
        Kind::PodGone => Cause::Own(&[Kind::PodDeleting]),
        Kind::BatchClosed => Cause::Idle(&[Kind::PodUnschedulable, Kind::NodeDeleting]),
        Kind::ClaimCreated => Cause::Latest(&[Kind::BatchClosed, Kind::Command]),
        Kind::ClaimLaunched => Cause::Own(&[Kind::ClaimCreated]),
        Kind::ClaimRegistered => Cause::Nth(Kind::NodeCreated),
        // After each write of a claim's status its controller rests a second; the first write tells that the node is Ready.
        Kind::ClaimInitialized => Cause::Looked(&[Kind::NodeReady, Kind::NodeTaints], Kind::NodeReady, RESTS_MAX),
        // A command that waits for its replacement looks once a second from its start.
        Kind::ClaimDeleting => {
            Cause::Looked(&[Kind::Action, Kind::Command, Kind::ClaimInitialized], Kind::Command, i64::MAX)
        }
        Kind::ClaimGone => Cause::Latest(&[Kind::NodeGone]),
        Kind::NodeCreated if one.detail == "static" => Cause::Latest(&[Kind::Action]),
        Kind::NodeCreated => Cause::Nth(Kind::ClaimLaunched),
        Kind::NodeReady => Cause::Own(&[Kind::NodeCreated]),
        Kind::NodeDeleting => Cause::Latest(&[Kind::ClaimDeleting, Kind::Action]),
        Kind::NodeGone => Cause::LatestOrOwn(&[Kind::PodGone], Kind::NodeDeleting),
        Kind::Command => Cause::Validated(&[
            Kind::ClaimInitialized,
            Kind::ClaimConsolidatable,
            Kind::ClaimGone,
            Kind::PodGone,
            Kind::PodReady,
            Kind::Action,
        ]),
        Kind::Action | Kind::SyncEnded | Kind::PodUnschedulable | Kind::EvictionRefused => Cause::Trigger,
        Kind::NodeTaints | Kind::ClaimConsolidatable => Cause::Trigger,
    }
}

/// When the cause of a happening was; the trigger if there is none. `number`: its place in the order of its kind.
pub(super) fn cause_at(timeline: &Timeline, one: &Happening, number: usize) -> i64 {
    let reader = Reader { timeline, one, until: one.at + SLACK };
    match cause_of(one) {
        Cause::Latest(kinds) => reader.latest(kinds),
        Cause::OwnOr(kind, kinds) => reader.of_subject(kind).or_else(|| reader.latest(kinds)),
        Cause::Rested(kinds, others) => {
            let earlier = Reader { until: one.at - 1, ..reader };
            kinds.iter().filter_map(|&kind| earlier.of_subject(kind)).max().or_else(|| earlier.latest(others))
        }
        Cause::LatestOrOwn(kinds, kind) => reader.latest(kinds).max(reader.of_subject(kind)),
        Cause::Own(kinds) => kinds.iter().filter_map(|&kind| reader.of_subject(kind)).max(),
        Cause::Turn(kind, workers) => reader.of_subject(kind).max(reader.turn(workers)),
        Cause::Nth(kind) => timeline.of_kind(kind).nth(number).map(|other| other.at),
        Cause::Looked(kinds, from, most) => {
            let latest = reader.latest(kinds);
            let look = reader.latest(&[from]).and_then(|from| {
                let looks = ((one.at - from + LOOK_SLACK) / LOOK).min(most);
                Some(from + looks * LOOK).filter(|&look| latest.is_some_and(|latest| look - latest <= LOOK))
            });
            latest.max(look)
        }
        Cause::Validated(kinds) => {
            let decided = if timeline.is_validated(one) { one.at - VALIDATION } else { one.at };
            Reader { until: decided + SLACK, ..reader }.latest(kinds)
        }
        Cause::Idle(kinds) => Reader { until: one.at - BATCH_IDLE + SLACK, ..reader }.latest(kinds),
        Cause::Trigger => None,
    }
    .unwrap_or(0)
}

/// Looks back from a happening.
struct Reader<'a> {
    timeline: &'a Timeline,
    one: &'a Happening,
    until: i64,
}

impl Reader<'_> {
    fn before(&self) -> impl Iterator<Item = &Happening> {
        let end = self.timeline.happenings.partition_point(|other| other.at <= self.until);
        self.timeline.happenings[..end].iter().rev()
    }

    fn latest(&self, kinds: &[Kind]) -> Option<i64> {
        // Equal kinds follow each other: only what came strictly earlier can be a cause.
        let can =
            |other: &&Happening| kinds.contains(&other.kind) && (other.kind != self.one.kind || other.at < self.one.at);
        self.before().find(can).map(|other| other.at)
    }

    /// When the happening of the same kind so many places earlier was.
    fn turn(&self, places: usize) -> Option<i64> {
        let same = self.before().filter(|other| other.kind == self.one.kind);
        let earlier = same.skip_while(|other| other.subject != self.one.subject);
        earlier.skip(places).map(|other| other.at).next()
    }

    fn of_subject(&self, kind: Kind) -> Option<i64> {
        let own = |other: &&Happening| {
            other.kind == kind && other.subject == self.one.subject && (kind != self.one.kind || other.at < self.one.at)
        };
        self.before().find(own).map(|other| other.at)
    }
}
