//! The replica calculator: from samples of pods and a target to a proposed number of replicas.
//!
//! Pure arithmetic in Go's order: signed 64-bit milli-units, integer division that truncates, ratios in doubles.
//! Source: `pkg/controller/podautoscaler/replica_calculator.go`, `metrics/utilization.go`.

use crate::engine::{Span, Time};
use crate::plan::PodTemplate;
use crate::rules::resources::ResourceList;
use crate::world::{PodId, PodPhase};

/// What the calculator sees of a pod.
#[derive(Clone, Copy, Debug)]
pub struct PodView<'a> {
    /// Which.
    pub id: PodId,
    /// Its spec.
    pub template: &'a PodTemplate,
    /// `status.phase`.
    pub phase: PodPhase,
    /// Has a deletionTimestamp.
    pub deleting: bool,
    /// `status.startTime`.
    pub start_time: Option<Time>,
    /// Condition Ready and its last transition; `None`: the condition is absent.
    pub ready: Option<(bool, Time)>,
    /// That condition is Unknown, which is neither True nor False.
    pub ready_unknown: bool,
}

/// A metric of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Milli-units.
    pub value: i64,
    /// End of its window.
    pub timestamp: Time,
    /// Length of its window.
    pub window: Span,
}

/// How far from 1 a ratio may be without consequence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerances {
    /// Below 1.
    pub down: f64,
    /// Above 1.
    pub up: f64,
    /// The test of 1.32 and before: |1 - ratio| <= tolerance.
    pub legacy: bool,
}

impl Tolerances {
    /// Whether a ratio is close enough to 1.
    pub fn is_within(&self, ratio: f64) -> bool {
        if self.legacy {
            return (1.0 - ratio).abs() <= self.up;
        }
        (1.0 - self.down) <= ratio && ratio <= (1.0 + self.up)
    }
}

/// When a pod's cpu sample counts.
#[derive(Clone, Copy, Debug)]
pub struct Readiness {
    /// The present instant.
    pub now: Time,
    /// `cpu-initialization-period`.
    pub cpu_initialization_period: Span,
    /// `initial-readiness-delay`.
    pub initial_readiness_delay: Span,
}

/// Pods by what their samples are worth.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Groups {
    /// Pods whose samples count.
    pub ready: usize,
    /// Pods that count as using nothing on the way up.
    pub unready: Vec<PodId>,
    /// Pods without sample.
    pub missing: Vec<PodId>,
    /// Terminating and failed pods.
    pub ignored: Vec<PodId>,
}

/// Why a metric gives no proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// The metrics API served nothing.
    NoMetrics,
    /// The selector matches no pod.
    NoPods,
    /// All samples belong to unready or ignored pods.
    OnlyUnready,
    /// A container without a request for the resource.
    MissingRequest,
    /// The requests sum to zero.
    ZeroRequest,
    /// A pod's metrics lack the container.
    NoContainer,
    /// The target lacks the field that its type needs.
    Target,
    /// A metric source that the controller does not know.
    Source,
}

impl Invalid {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Invalid::NoMetrics => "no metrics returned",
            Invalid::NoPods => "no pods returned by selector",
            Invalid::OnlyUnready => "did not receive metrics for targeted pods (pods might be unready)",
            Invalid::MissingRequest => "missing request",
            Invalid::ZeroRequest => "no metrics returned matched known pods",
            Invalid::NoContainer => "container not present in metrics",
            Invalid::Target => "invalid metric target",
            Invalid::Source => "unknown metric source type",
        }
    }
}

/// A proposal and what it was made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// Replicas proposed.
    pub replicas: i32,
    /// Average utilisation, percent.
    pub utilization: Option<i32>,
    /// Average value, milli-units.
    pub average_value: Option<i64>,
    /// Whole value (object and external), milli-units.
    pub value: Option<i64>,
    /// The ratio of the first calculation.
    pub ratio: f64,
    /// The ratio after unready and missing pods were filled in.
    pub refilled: Option<f64>,
    /// The ratio that decided is within the tolerance.
    pub tolerated: bool,
    /// Pods by group, where pods matter.
    pub groups: Option<Groups>,
}

impl Proposal {
    fn of_ratio(ratio: f64) -> Proposal {
        Proposal {
            replicas: 0,
            utilization: None,
            average_value: None,
            value: None,
            ratio,
            refilled: None,
            tolerated: false,
            groups: None,
        }
    }
}

/// What a pod is worth whose use does not count.
enum Worth {
    /// It terminates or has failed.
    Ignored,
    /// It counts as using nothing on the way up.
    Unready,
    /// It has no sample.
    Missing,
}

/// Pods and samples of one metric, counted as they come, in order of the pods: `groupPods`, `calculatePodRequests` and the
/// sums of `GetResourceUtilizationRatio` in one pass, so that a sync over thousands of pods keeps no lists of them.
#[derive(Clone, Debug)]
pub struct Tally<'a> {
    /// The metric is cpu as Resource or ContainerResource.
    cpu: bool,
    readiness: Readiness,
    /// What to sum of the pods' requests; `None`: they do not matter.
    requests: Option<Requests<'a>>,
    groups: Groups,
    /// When the oldest and the newest sample looked at was taken; the oldest after the newest: there was none.
    ages: (Time, Time),
    /// Use and requests of the pods whose samples count.
    ready: Sums,
    /// Use of pods that are gone but still served.
    gone: Sums,
    /// Requests of the pods without sample, each used as `missing_percent` says.
    missing: Sums,
    /// Requests of the unready pods.
    unready: Sums,
    /// A pod has no request for the resource.
    lacks_request: bool,
}

impl<'a> Tally<'a> {
    /// Nothing counted yet.
    pub fn new(cpu: bool, readiness: Readiness, requests: Option<Requests<'a>>) -> Tally<'a> {
        Tally {
            cpu,
            readiness,
            requests,
            groups: Groups::default(),
            ages: (Time::MAX, Time::ZERO),
            ready: Sums::default(),
            gone: Sums::default(),
            missing: Sums::default(),
            unready: Sums::default(),
            lacks_request: false,
        }
    }

    /// Counts a pod and what the metrics API serves of it: once for every pod of every sync, and inlined there.
    #[inline(always)]
    pub fn pod(&mut self, pod: &PodView<'a>, sample: Option<Sample>) {
        let request = match &mut self.requests {
            None => 0,
            Some(requests) => requests.of(pod.template).unwrap_or_else(|| {
                self.lacks_request = true;
                0
            }),
        };
        if let Some(sample) = &sample {
            self.seen(sample);
        }
        let worth = match &sample {
            _ if pod.deleting || pod.phase == PodPhase::Failed => Worth::Ignored,
            _ if pod.phase == PodPhase::Pending => Worth::Unready,
            None => Worth::Missing,
            Some(sample) if self.cpu && is_unready(pod, sample, &self.readiness) => Worth::Unready,
            // So it is with most.
            Some(sample) => return self.ready.add(sample.value, request),
        };
        self.set_aside(pod.id, worth, request);
    }

    /// Counts a pod whose use does not count.
    #[inline(never)]
    fn set_aside(&mut self, pod: PodId, worth: Worth, request: i64) {
        match worth {
            Worth::Ignored => self.groups.ignored.push(pod),
            Worth::Unready => {
                self.groups.unready.push(pod);
                self.unready.add(0, request);
            }
            Worth::Missing => {
                let percent = self.requests.as_ref().map_or(0, |requests| requests.missing_percent);
                self.groups.missing.push(pod);
                self.missing.add(request.wrapping_mul(percent) / 100, request);
            }
        }
    }

    /// Counts a sample of a pod that is gone and still served.
    pub fn gone(&mut self, sample: &Sample) {
        self.seen(sample);
        self.gone.add(sample.value, 0);
    }

    /// Counts pods and samples, both in order of their ids.
    pub fn join(
        &mut self,
        pods: impl Iterator<Item = PodView<'a>>,
        samples: impl IntoIterator<Item = (PodId, Sample)>,
    ) {
        let mut pods = pods.peekable();
        for (id, sample) in samples {
            while let Some(pod) = pods.next_if(|pod| pod.id < id) {
                self.pod(&pod, None);
            }
            match pods.next_if(|pod| pod.id == id) {
                Some(pod) => self.pod(&pod, Some(sample)),
                None => self.gone(&sample),
            }
        }
        pods.for_each(|pod| self.pod(&pod, None));
    }

    /// When the oldest and the newest sample was taken.
    pub fn ages(&self) -> Option<(Time, Time)> {
        (self.ages.0 <= self.ages.1).then_some(self.ages)
    }

    #[inline(always)]
    fn seen(&mut self, sample: &Sample) {
        let (oldest, newest) = self.ages;
        self.ages = (oldest.min(sample.timestamp), newest.max(sample.timestamp));
    }

    /// How many samples count.
    fn counted(&self) -> usize {
        self.ready.entries + self.gone.entries
    }

    /// Whether there is anything to calculate with.
    fn checked(mut self) -> Result<Tally<'a>, Invalid> {
        let Groups { unready, missing, ignored, .. } = &self.groups;
        if self.ages().is_none() {
            Err(Invalid::NoMetrics)
        } else if self.ready.entries + unready.len() + missing.len() + ignored.len() == 0 {
            Err(Invalid::NoPods)
        } else if self.counted() == 0 {
            Err(Invalid::OnlyUnready)
        } else if self.lacks_request {
            Err(Invalid::MissingRequest)
        } else {
            self.groups.ready = self.ready.entries;
            Ok(self)
        }
    }
}

#[inline(always)]
fn is_unready(pod: &PodView, sample: &Sample, readiness: &Readiness) -> bool {
    let (Some((ready, since)), Some(start)) = (pod.ready, pod.start_time) else { return true };
    let ready = ready || pod.ready_unknown;
    if start + readiness.cpu_initialization_period > readiness.now {
        !ready || sample.timestamp < since + sample.window
    } else {
        !ready && start + readiness.initial_readiness_delay > since
    }
}

/// The request of a pod for a resource (`calculatePodRequests`).
#[derive(Clone, Debug)]
pub struct Requests<'a> {
    /// The only container that counts.
    pub container: Option<&'a str>,
    /// The resource.
    pub resource: &'a str,
    /// Whether pod-level requests count.
    pub pod_level: bool,
    /// How much of its request a pod without sample is taken to use on the way down.
    pub missing_percent: i64,
    /// The last answer: neighbours mostly share their template.
    known: Option<(&'a PodTemplate, Option<i64>)>,
}

impl<'a> Requests<'a> {
    /// Requests for a resource, of one container or of all.
    pub fn new(container: Option<&'a str>, resource: &'a str, pod_level: bool, missing_percent: i64) -> Requests<'a> {
        Requests { container, resource, pod_level, missing_percent, known: None }
    }

    /// Milli-units; `None`: a container (or a pod with pod-level resources) has no request for the resource.
    #[inline]
    pub fn of(&mut self, template: &'a PodTemplate) -> Option<i64> {
        match self.known {
            Some((known, request)) if std::ptr::eq(known, template) => request,
            _ => self.of_another(template),
        }
    }

    fn of_another(&mut self, template: &'a PodTemplate) -> Option<i64> {
        let request = request_of(template, self.container, self.resource, self.pod_level);
        self.known = Some((template, request));
        request
    }
}

fn request_of(template: &PodTemplate, container: Option<&str>, resource: &str, pod_level: bool) -> Option<i64> {
    if pod_level && container.is_none() && !template.pod_requests.is_empty() {
        return effective_request(template, resource);
    }
    let sidecars = template.init_containers.iter().filter(|init| init.restartable);
    let counted =
        template.containers.iter().chain(sidecars).filter(|entry| container.is_none_or(|name| name == entry.name));
    counted.map(|entry| milli_of(&entry.requests, resource)).sum()
}

/// The pod-level request, or what containers and init containers need, plus overhead (`PodRequests`).
fn effective_request(template: &PodTemplate, resource: &str) -> Option<i64> {
    let containers = template.containers_request(|requests| milli_of(requests, resource));
    let request = milli_of(&template.pod_requests, resource).or(containers);
    match milli_of(&template.overhead, resource) {
        Some(overhead) => Some(request.unwrap_or(0) + overhead),
        None => request,
    }
}

/// An entry of a resource list in milli-units.
fn milli_of(list: &ResourceList, resource: &str) -> Option<i64> {
    match resource {
        "cpu" => list.cpu.map(|cpu| cpu.0),
        "memory" => list.memory.map(|memory| memory.0.saturating_mul(1000)),
        "ephemeral-storage" => list.ephemeral_storage.map(|storage| storage.0.saturating_mul(1000)),
        _ => list.extended.get(resource).map(|amount| amount.saturating_mul(1000)),
    }
}

/// Use and requests of the pods that have both.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    total: i64,
    requested: i64,
    entries: usize,
}

impl Sums {
    #[inline(always)]
    fn add(&mut self, value: i64, request: i64) {
        self.total = self.total.wrapping_add(value);
        self.requested = self.requested.wrapping_add(request);
        self.entries += 1;
    }

    fn and(mut self, more: &Sums) -> Sums {
        self.total = self.total.wrapping_add(more.total);
        self.requested = self.requested.wrapping_add(more.requested);
        self.entries += more.entries;
        self
    }

    /// Ratio of utilisation to target, and utilisation in percent (`GetResourceUtilizationRatio`).
    fn ratio(&self, target: i32) -> Result<(f64, i32), Invalid> {
        if self.requested == 0 {
            return Err(Invalid::ZeroRequest);
        }
        let utilization = (self.total.wrapping_mul(100) / self.requested) as i32;
        Ok((f64::from(utilization) / f64::from(target), utilization))
    }
}

/// Ratio of the mean to the target, and the mean (`GetMetricUsageRatio`).
fn usage_ratio(total: i64, entries: usize, target: i64) -> (f64, i64) {
    let mean = total / (entries.max(1) as i64);
    (mean as f64 / target as f64, mean)
}

/// `int32(math.Ceil(x))` as amd64 computes it: what is no 32-bit integer becomes the smallest one.
pub fn ceil_replicas(value: f64) -> i32 {
    let whole = value.ceil();
    let fits = whole >= f64::from(i32::MIN) && whole <= f64::from(i32::MAX);
    if fits { whole as i32 } else { i32::MIN }
}

/// `int64(x)` as amd64 computes it: what is no 64-bit integer becomes the smallest one.
fn whole(value: f64) -> i64 {
    let fits = value >= i64::MIN as f64 && value < i64::MAX as f64;
    if fits { value as i64 } else { i64::MIN }
}

/// What every per-pod calculation needs.
#[derive(Clone, Copy, Debug)]
pub struct PerPod {
    /// `spec.replicas` of the target.
    pub current: i32,
    /// Tolerances.
    pub tolerances: Tolerances,
}

/// How much of its request a pod without sample counts as using on the way down, percent: all of it or the target, whichever
/// is more; before 1.32 (`fill_with_request`) all of it even if the target is above.
pub fn missing_percent(target: i32, fill_with_request: bool) -> i64 {
    i64::from(if fill_with_request { 100 } else { target.max(100) })
}

impl PerPod {
    /// Target utilisation of a resource (`GetResourceReplicas`).
    ///
    /// # Errors
    /// Why there is no proposal.
    pub fn utilization(&self, tally: Tally, target: i32) -> Result<Proposal, Invalid> {
        let tally = tally.checked()?;
        let mut sums = tally.ready;
        let (ratio, utilization) = sums.ratio(target)?;
        let average = Some(sums.total / sums.entries.max(1) as i64);
        let mut proposal =
            Proposal { utilization: Some(utilization), average_value: average, ..Proposal::of_ratio(ratio) };
        if !self.decided_by_ready_pods(&mut proposal, &tally.groups) {
            // A missing pod counts as full on the way down, as idle on the way up.
            let mut entries = tally.counted();
            if ratio != 1.0 {
                let full = if ratio < 1.0 { tally.missing.total } else { 0 };
                sums = sums.and(&Sums { total: full, ..tally.missing });
                entries += tally.groups.missing.len();
            }
            if ratio > 1.0 {
                sums = sums.and(&tally.unready);
                entries += tally.groups.unready.len();
            }
            let (refilled, _) = sums.ratio(target)?;
            self.after_refill(&mut proposal, refilled, entries);
        }
        proposal.groups = Some(tally.groups);
        Ok(proposal)
    }

    /// Target average value of a resource or a Pods metric (`calcPlainMetricReplicas`).
    ///
    /// # Errors
    /// Why there is no proposal.
    pub fn average_value(&self, tally: Tally, target: i64) -> Result<Proposal, Invalid> {
        let tally = tally.checked()?;
        let (mut total, mut entries) = (tally.ready.total.wrapping_add(tally.gone.total), tally.counted());
        let (ratio, mean) = usage_ratio(total, entries, target);
        let mut proposal = Proposal { average_value: Some(mean), ..Proposal::of_ratio(ratio) };
        if !self.decided_by_ready_pods(&mut proposal, &tally.groups) {
            if ratio != 1.0 {
                let missing = tally.groups.missing.len();
                entries += missing;
                let full = target.wrapping_mul(missing as i64);
                total = total.wrapping_add(if ratio < 1.0 { full } else { 0 });
            }
            if ratio > 1.0 {
                entries += tally.groups.unready.len();
            }
            let (refilled, _) = usage_ratio(total, entries, target);
            self.after_refill(&mut proposal, refilled, entries);
        }
        proposal.groups = Some(tally.groups);
        Ok(proposal)
    }

    /// The short way: nothing is missing, and no unready pod would damp a growth. True if it decided.
    fn decided_by_ready_pods(&self, proposal: &mut Proposal, groups: &Groups) -> bool {
        let up_with_unready = !groups.unready.is_empty() && proposal.ratio > 1.0;
        if up_with_unready || !groups.missing.is_empty() {
            return false;
        }
        proposal.tolerated = self.tolerances.is_within(proposal.ratio);
        proposal.replicas =
            if proposal.tolerated { self.current } else { ceil_replicas(proposal.ratio * groups.ready as f64) };
        true
    }

    /// The second ratio never reverses or contradicts the first.
    fn after_refill(&self, proposal: &mut Proposal, refilled: f64, entries: usize) {
        let ratio = proposal.ratio;
        proposal.refilled = Some(refilled);
        proposal.tolerated = self.tolerances.is_within(refilled);
        let reversed = (ratio < 1.0 && refilled > 1.0) || (ratio > 1.0 && refilled < 1.0);
        let replicas = ceil_replicas(refilled * entries as f64);
        let contradicts = (refilled < 1.0 && replicas > self.current) || (refilled > 1.0 && replicas < self.current);
        proposal.replicas = if proposal.tolerated || reversed || contradicts { self.current } else { replicas };
    }

    /// Target value of an object or external metric: pods Running and Ready are multiplied.
    ///
    /// # Errors
    /// No pods, when their number matters.
    pub fn whole_value<'p>(
        &self,
        pods: impl Iterator<Item = PodView<'p>>,
        value: i64,
        target: i64,
    ) -> Result<Proposal, Invalid> {
        let mut pods = pods.peekable();
        let ratio = value as f64 / target as f64;
        let mut proposal = Proposal { value: Some(value), ..Proposal::of_ratio(ratio) };
        proposal.tolerated = self.current != 0 && self.tolerances.is_within(ratio);
        proposal.replicas = if self.current == 0 {
            ceil_replicas(ratio)
        } else if proposal.tolerated {
            self.current
        } else if pods.peek().is_none() {
            return Err(Invalid::NoPods);
        } else {
            let running_and_ready =
                |pod: &PodView| pod.phase == PodPhase::Running && pod.ready.is_some_and(|(ready, _)| ready);
            ceil_replicas(ratio * pods.filter(running_and_ready).count() as f64)
        };
        Ok(proposal)
    }
}

/// Target average value of an object or external metric: `status.replicas` share it.
pub fn shared_value(value: i64, target: i64, status_replicas: i32, tolerances: &Tolerances) -> Proposal {
    let ratio = value as f64 / (target as f64 * f64::from(status_replicas));
    let tolerated = tolerances.is_within(ratio);
    let replicas = if tolerated { status_replicas } else { ceil_replicas(value as f64 / target as f64) };
    let average = whole((value as f64 / f64::from(status_replicas)).ceil());
    Proposal { replicas, tolerated, average_value: Some(average), ..Proposal::of_ratio(ratio) }
}

#[cfg(test)]
mod tests;
