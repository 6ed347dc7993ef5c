//! The resource metrics pipeline: cAdvisor, the kubelet's resource endpoint, metrics-server.
//!
//! ```text
//!  CPU meter of a pod ─► housekeeping (10 to 20 s apart, per pod) ─► the kubelet's cached sample
//!                                                                          │ Scrape, every 15 s
//!  HPA ◄─ resource metrics API ◄─ usage between two samples ◄─ Publish ◄───┘
//! ```
//!
//! Sources: cAdvisor `lib/manager/container.go` (intervals and their jitter), metrics-server `pkg/scraper/scraper.go` (spread
//! of the nodes) and, in `storage.rs`, its storage. The windowed mean of a counter is what makes a scale-up come in two
//! steps: a value plus a lag would not.
//!
//! Housekeeping is no event: when it was due is known, and the meter remembers what it showed then. It is caught up with when
//! somebody reads the samples, or when a pod ceases to run.
//!
//! Only pods whose Deployment an autoscaler scales by a resource metric, or whose use the recommender of the Vertical Pod
//! Autoscaler watches, are sampled: nobody reads the others. A pod's CPU is that of its first container; other containers
//! show one millicore. Left out: kubelet failures while the node is up.

pub mod storage;

use crate::components::{Cx, Event as AnyEvent};
use crate::engine::{Purpose, Span, Time};
use crate::plan::{App, DeploymentId, MetricSpec, Plan};
use crate::world::{ContainerStatus, ContainerUsage, CpuMeter, Hpa, NodeId, Pod, PodId, World};
use storage::{KeptOfPod, Sample, Storage, nanos_since_1970};

const HOUSEKEEPING: Purpose = Purpose::named("metrics.housekeeping");
const SCRAPE_PHASE: Purpose = Purpose::named("metrics.phase");
const SPREAD: Purpose = Purpose::named("metrics.spread");
/// Memory of a pod whose application is not modelled: 64 MiB.
const MEMORY_UNKNOWN: u64 = 64 << 20;
/// CPU that a container shows which does nothing: one millicore, a nanosecond in every microsecond.
const IDLE_NANOCORES: u64 = 1_000_000;

/// cAdvisor's view of one pod.
#[derive(Clone, Copy, Debug)]
struct Housekeeping {
    pod: PodId,
    /// The key of its random draws.
    key: u64,
    /// The sample served by the kubelet: time and nanoseconds of CPU.
    sample: Option<(Time, u64)>,
    /// When the next one is taken.
    next: Time,
    /// Samples taken, to key the jitter.
    count: u64,
    /// CPU used before the start of the run.
    used_before: u64,
    /// Bytes that its application takes.
    memory: u64,
    /// The pod does not run: samples due now are not taken.
    stopped: bool,
}

/// Its memory.
#[derive(Default)]
pub struct MetricsServer {
    /// The pods that are sampled, in order of creation.
    pods: Vec<Housekeeping>,
    storage: Storage<PodId>,
    scrapes: u64,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The run begins: what has run for long has been measured for long.
    Seed,
    /// A container of a pod started: cAdvisor discovers it.
    Started(PodId),
    /// A container of a pod stopped.
    Stopped(PodId),
    /// A machine stopped answering, or answers again.
    Node(NodeId),
    /// metrics-server begins to scrape all nodes.
    Scrape,
    /// All nodes have answered.
    Publish,
}

impl MetricsServer {
    /// Schedules the first scrape, if anybody reads resource metrics at all.
    pub fn start(&mut self, cx: &mut Cx) {
        if (0..cx.world.deployments.len()).any(|index| is_watched(cx, DeploymentId::at(index))) {
            cx.after(Span::ZERO, AnyEvent::MetricsServer(Event::Seed));
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Seed => self.seed(cx),
            Event::Started(pod) => {
                self.resume(cx, pod);
                let watched = cx.world.deployment_of(pod).is_some_and(|deployment| is_watched(cx, deployment));
                if watched && self.place(pod).is_err() && is_running(cx.world, pod) {
                    self.discover(cx, pod);
                }
            }
            Event::Stopped(pod) => self.stop(cx, pod),
            Event::Node(node) => {
                for pod in cx.world.node(node).pods.clone() {
                    self.resume(cx, pod);
                    self.stop(cx, pod);
                }
            }
            Event::Scrape => self.scrape(cx),
            Event::Publish => self.publish(cx),
        }
    }

    /// Where the view of a pod is, or would be.
    fn place(&self, pod: PodId) -> Result<usize, usize> {
        self.pods.binary_search_by_key(&pod, |kept| kept.pod)
    }

    fn get(&mut self, pod: PodId) -> Option<&mut Housekeeping> {
        self.place(pod).ok().map(|place| &mut self.pods[place])
    }

    fn put(&mut self, kept: Housekeeping) {
        match self.place(kept.pod) {
            Ok(place) => self.pods[place] = kept,
            Err(place) => self.pods.insert(place, kept),
        }
    }

    /// cAdvisor finds a pod and samples it at once.
    fn discover(&mut self, cx: &mut Cx, pod: PodId) {
        let (key, memory) = (cx.world.pod(pod).key(), memory_of(cx, pod));
        let mut first =
            Housekeeping { pod, key, sample: None, next: cx.now, count: 0, used_before: 0, memory, stopped: false };
        cx.world.cpu_meter(pod).remember();
        // KWOK counts from the first time somebody asks.
        if !cx.plan.flags.metrics.stepwise {
            first.sample(cx, cx.world.pod(pod), cx.now);
        }
        self.put(first);
    }

    /// A pod may have ceased to run: it has been sampled until now.
    fn stop(&mut self, cx: &Cx, pod: PodId) {
        if !is_running(cx.world, pod)
            && let Some(kept) = self.get(pod)
        {
            kept.catch_up(cx, cx.world.pod(pod));
            kept.stopped = true;
        }
    }

    /// A pod may run again: where a sample was missed, cAdvisor begins anew.
    fn resume(&mut self, cx: &mut Cx, pod: PodId) {
        let Some(kept) = self.get(pod).filter(|kept| kept.stopped && is_running(cx.world, pod)) else { return };
        kept.stopped = false;
        if kept.next <= cx.now && !cx.plan.flags.metrics.exact {
            self.discover(cx, pod);
        }
    }

    /// Pods that exist at the start have been sampled and scraped for long, at their steady load.
    fn seed(&mut self, cx: &mut Cx) {
        let flags = cx.plan.flags.metrics.clone();
        let interval = flags.housekeeping_busy + flags.housekeeping_busy.half();
        let scrape = flags.phase.unwrap_or_else(|| cx.phase(SCRAPE_PHASE, 0, flags.resolution));
        let scrapes = [2, 1].map(|back| (cx.now + scrape).back(flags.resolution * back));
        let mut pages = [Vec::new(), Vec::new()];
        for index in 0..cx.world.pods.len() {
            let pod = PodId::at(index);
            let Some(deployment) = cx.world.deployment_of(pod) else { continue };
            let Some(containers) = running(cx.world, cx.world.pod(pod)).filter(|_| is_watched(cx, deployment)) else {
                continue;
            };
            let rate = steady_nanocores(cx, deployment);
            let used_before = nanos(rate, cx.plan.initial_age);
            let (key, memory) = (cx.world.pod(pod).key(), memory_of(cx, pod));
            let phase = cx.phase(HOUSEKEEPING, key, interval);
            let tick = |at: Time| if flags.exact { at } else { latest_tick(cx.now + phase, interval, at) };
            for (page, at) in pages.iter_mut().zip(scrapes) {
                let at = tick(at);
                let counter = used_before.saturating_sub(nanos(rate, cx.now.since(at)));
                read_page(containers, (pod, memory), (at, counter), |sample| page.push(sample));
            }
            let last = tick(cx.now);
            let counter = used_before.saturating_sub(nanos(rate, cx.now.since(last)));
            let next = cx.now + phase;
            let sample = Some((last, counter));
            self.put(Housekeeping { pod, key, sample, next, count: 0, used_before, memory, stopped: false });
            cx.world.cpu_meter(pod).remember();
        }
        for page in &pages {
            self.storage.store(page, flags.resolution);
        }
        self.serve(cx);
        cx.after(scrape, AnyEvent::MetricsServer(Event::Scrape));
    }

    /// All nodes are asked, each after a random delay; the answer is there when the last has come.
    fn scrape(&mut self, cx: &mut Cx) {
        let flags = &cx.plan.flags.metrics;
        let nodes = cx.world.nodes.iter().filter(|node| node.gone.is_none()).count() as u64;
        let most = (flags.scrape_spread_per_node * nodes).min(flags.scrape_spread_max);
        self.scrapes += 1;
        let spread = if flags.exact { Span::ZERO } else { cx.phase(SPREAD, self.scrapes, most) };
        cx.after(flags.resolution, AnyEvent::MetricsServer(Event::Scrape));
        cx.after(spread, AnyEvent::MetricsServer(Event::Publish));
    }

    /// Pods are sampled until now, and the kubelets' pages with the last samples of those that run are read.
    fn publish(&mut self, cx: &mut Cx) {
        let flags = &cx.plan.flags.metrics;
        let MetricsServer { pods, storage, .. } = self;
        let mut is_any_left = false;
        for kept in pods.iter_mut() {
            let entry = cx.world.pod(kept.pod);
            let running = running(cx.world, entry);
            if !is_sampled(entry, running.is_some(), flags.exact) {
                is_any_left = true;
            } else if flags.exact {
                kept.sample(cx, entry, cx.now);
            } else {
                kept.catch_up(cx, entry);
            }
            if let (Some(containers), Some(last)) = (running, kept.sample) {
                read_page(containers, (kept.pod, kept.memory), last, |sample| {
                    // KWOK reports that every container started in 1970.
                    let start = if flags.stepwise { Some(0) } else { sample.start };
                    storage.read(&Sample { start, ..sample }, flags.resolution);
                });
            }
            cx.world.cpu.get_mut(kept.pod.index()).into_iter().for_each(CpuMeter::forget);
        }
        if is_any_left {
            let world = &*cx.world;
            pods.retain(|kept| is_sampled(world.pod(kept.pod), is_running(world, kept.pod), flags.exact));
        }
        storage.finish();
        self.serve(cx);
    }

    /// The API serves what the storage answers, and nothing else.
    fn serve(&mut self, cx: &mut Cx) {
        let mut served = 0;
        for of_pod in self.storage.by_pod().filter(KeptOfPod::is_answered) {
            served += 1;
            let metrics = cx.world.serve_pod_metrics(of_pod.pod());
            metrics.containers.clear();
            let window = of_pod.answer(|container, cpu, memory| {
                let (cpu_nanocores, memory_bytes) = (Some(cpu as i64), Some(memory as i64));
                metrics.containers.push(ContainerUsage { container, cpu_nanocores, memory_bytes });
            });
            metrics.timestamp = window.end.unwrap_or(Time::ZERO).whole_second();
            metrics.window = Span::from_micros(window.length.unsigned_abs() / 1_000);
        }
        if cx.world.measured.len() > served {
            self.withdraw(cx);
        }
    }

    /// What was served of pods of which the storage answers nothing any more is served no longer.
    #[cold]
    fn withdraw(&self, cx: &mut Cx) {
        let unanswered: Vec<PodId> = cx.world.measured.iter().filter(|pod| !self.storage.answers(pod)).collect();
        for pod in unanswered {
            cx.world.set_pod_metrics(pod, None);
        }
    }
}

impl Housekeeping {
    /// Takes the samples of the pod that were due until now.
    #[inline]
    fn catch_up(&mut self, cx: &Cx, pod: &Pod) {
        while self.next <= cx.now && !self.stopped && !cx.plan.flags.metrics.exact {
            self.sample(cx, pod, self.next);
        }
    }

    /// Samples the pod and says when the next sample comes: after 10 s, or 15 s when nothing changed, and up to as much more.
    #[inline]
    fn sample(&mut self, cx: &Cx, pod: &Pod, at: Time) {
        let flags = &cx.plan.flags.metrics;
        let used = if flags.stepwise {
            stepped(cx.world, self.pod, self.sample)
        } else {
            used(cx.world, pod, at, self.used_before)
        };
        let unchanged = self.sample.is_some_and(|(_, before)| before == used);
        self.sample = Some((at, used));
        let base = if unchanged { flags.housekeeping_idle } else { flags.housekeeping_busy };
        self.count += 1;
        let jitter = cx.phase(HOUSEKEEPING, self.key ^ self.count << 40, base);
        self.next = at + base + jitter;
    }
}

/// Some autoscaler scales this Deployment by a resource metric, or the recommender watches it.
fn is_watched(cx: &Cx, deployment: DeploymentId) -> bool {
    let resource =
        |metric: &MetricSpec| matches!(metric, MetricSpec::Resource { .. } | MetricSpec::ContainerResource { .. });
    let scaled = |hpa: &Hpa| hpa.target == Some(deployment) && hpa.spec.metrics.iter().any(resource);
    let recommended = !cx.plan.flags.vpa.period.is_zero() && cx.plan.app_of(deployment).is_some();
    recommended || cx.world.hpas.iter().any(scaled)
}

/// The pod's node answers and its application's container runs.
#[inline]
fn is_running(world: &World, pod: PodId) -> bool {
    running(world, world.pod(pod)).is_some()
}

/// The containers, those for initialisation left out, of a pod whose node answers and whose application's container runs.
#[inline]
fn running<'w>(world: &World, pod: &'w Pod) -> Option<&'w [ContainerStatus]> {
    let alive = pod.gone.is_none() && pod.node.is_some_and(|node| world.node(node).alive);
    let containers = pod.containers.get(world.template(pod.template).init_containers.len()..)?;
    (alive && containers.first()?.running_since.is_some()).then_some(containers)
}

/// Samples of the pod are taken as long as it exists; where they are exact, as long as it runs.
#[inline]
fn is_sampled(pod: &Pod, runs: bool, exact: bool) -> bool {
    pod.gone.is_none() && (runs || !exact)
}

/// Nanoseconds of CPU used at this rate in that time.
#[inline]
fn nanos(nanocores: u64, span: Span) -> u64 {
    match nanocores.checked_mul(span.micros()) {
        Some(product) => product / 1_000_000,
        None => (u128::from(nanocores) * u128::from(span.micros()) / 1_000_000) as u64,
    }
}

/// Nanoseconds of CPU that a container uses in that time which does nothing.
#[inline]
fn idle_nanos(span: Span) -> u64 {
    debug_assert_eq!(nanos(IDLE_NANOCORES, span), span.micros());
    span.micros()
}

/// The pod's counter; what runs has always used a little.
#[inline]
fn used(world: &World, pod: &Pod, at: Time, used_before: u64) -> u64 {
    let started = pod.containers.iter().filter_map(|status| status.running_since).min();
    let idle = started.map_or(0, |started| idle_nanos(at.since(started)));
    let metered = world.cpu.get(pod.id.index()).map_or(0, |meter| meter.used_until(at));
    used_before + (metered as u64).max(idle.max(1))
}

/// KWOK's counter: it grows by the use at the moment of the scrape, as if that had been so since the scrape before, and begins
/// at zero with the first one, of which metrics-server then keeps nothing. Source: KWOK `pkg/kwok/server/metrics_resource_usage.go`.
fn stepped(world: &World, pod: PodId, before: Option<(Time, u64)>) -> u64 {
    let rate = world.cpu.get(pod.index()).map_or(0, |meter| meter.rate());
    before.map_or(0, |(at, counter)| counter + nanos(rate, world.now.since(at)))
}

/// The load model of a Deployment.
fn app_of(plan: &Plan, deployment: DeploymentId) -> Option<&App> {
    plan.app_of(deployment).map(|app| &plan.apps[app.index()])
}

/// Bytes that the application in a pod takes.
fn memory_of(cx: &Cx, pod: PodId) -> u64 {
    let app = cx.world.deployment_of(pod).and_then(|deployment| app_of(cx.plan, deployment));
    app.map_or(MEMORY_UNKNOWN, |app| app.memory.max(1) as u64)
}

/// Hands on the pod's lines on its kubelet's page, where its application takes that much memory.
#[inline(always)]
fn read_page(
    containers: &[ContainerStatus],
    (pod, memory): (PodId, u64),
    (at, used): (Time, u64),
    mut read: impl FnMut(Sample<PodId>),
) {
    for (container, status) in containers.iter().enumerate() {
        let Some(start) = status.running_since else { continue };
        let is_first = container == 0;
        read(Sample {
            pod,
            container: container as u16,
            start: Some(nanos_since_1970(start)),
            timestamp: at,
            cpu_nanos: if is_first { used } else { idle_nanos(at.since(start)).max(1) },
            memory: if is_first { memory } else { MEMORY_UNKNOWN / 4 },
        });
    }
}

/// The latest instant not after `at` on the grid through `tick`.
fn latest_tick(tick: Time, interval: Span, at: Time) -> Time {
    if at >= tick {
        return tick + interval * (at.since(tick).micros() / interval.micros());
    }
    let back = tick.since(at).micros().div_ceil(interval.micros());
    tick.back(interval * back)
}

/// What a pod of the Deployment has used before the start: the first load, shared by its running pods.
fn steady_nanocores(cx: &Cx, deployment: DeploymentId) -> u64 {
    let Some(app) = app_of(cx.plan, deployment) else { return IDLE_NANOCORES };
    let of_deployment = |pod: &&crate::world::Pod| cx.world.deployment_of(pod.id) == Some(deployment) && pod.is_ready();
    let ready = cx.world.pods.iter().filter(of_deployment);
    let (count, limit) = ready.fold((0u32, f64::INFINITY), |(count, limit), pod| {
        let cpu = cx.world.template(pod.template).cpu_limit().map_or(f64::INFINITY, |limit| limit.0 as f64 / 1e3);
        (count + 1, limit.min(cpu))
    });
    let cores = match &app.cores {
        Some(cores) => cores.at(cx.plan.start),
        None => app.rate_at(cx.plan.start) * app.cpu_per_request.seconds(),
    };
    let idle = app.idle_cpu.0.max(1) as f64 / 1e3;
    ((cores / f64::from(count.max(1)) + idle).min(limit) * 1e9) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_of_ticks_reaches_into_the_past() {
        let (tick, interval) = (Time::from_unix_seconds(100), Span::from_secs(15));
        let second = Time::from_unix_seconds;
        assert_eq!(latest_tick(tick, interval, second(100)), second(100));
        assert_eq!(latest_tick(tick, interval, second(99)), second(85));
        assert_eq!(latest_tick(tick, interval, second(85)), second(85));
        assert_eq!(latest_tick(tick, interval, second(131)), second(130));
    }
}
