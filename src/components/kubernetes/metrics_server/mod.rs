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
use crate::plan::{App, DeploymentId, MetricSpec};
use crate::world::{ContainerUsage, Hpa, NodeId, PodId, PodMetrics, World};
use storage::{Sample, Storage, nanos_since_1970};

const HOUSEKEEPING: Purpose = Purpose::named("metrics.housekeeping");
const SCRAPE_PHASE: Purpose = Purpose::named("metrics.phase");
const SPREAD: Purpose = Purpose::named("metrics.spread");
/// Memory of a pod whose application is not modelled: 64 MiB.
const MEMORY_UNKNOWN: u64 = 64 << 20;
/// CPU that a container shows which does nothing: one millicore.
const IDLE_NANOCORES: u64 = 1_000_000;

/// cAdvisor's view of one pod.
#[derive(Clone, Copy, Debug)]
struct Housekeeping {
    /// The sample served by the kubelet and the one before: time and nanoseconds of CPU.
    samples: [Option<(Time, u64)>; 2],
    /// When the next one is taken.
    next: Time,
    /// Samples taken, to key the jitter.
    count: u64,
    /// CPU used before the start of the run.
    used_before: u64,
    /// The pod does not run: samples due now are not taken.
    stopped: bool,
}

/// Its memory.
#[derive(Default)]
pub struct MetricsServer {
    pods: Vec<Option<Housekeeping>>,
    storage: Storage<PodId>,
    scrapes: u64,
    served: Vec<PodId>,
    /// Memory of a scrape, and of metrics that are not served any more, for the next ones.
    page: Vec<Sample<PodId>>,
    spare: Vec<Vec<ContainerUsage>>,
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
                if watched && self.get(pod).is_none() && is_running(cx.world, pod) {
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

    fn get(&self, pod: PodId) -> Option<Housekeeping> {
        self.pods.get(pod.index()).copied().flatten()
    }

    fn put(&mut self, pod: PodId, kept: Housekeeping) {
        if self.pods.len() <= pod.index() {
            self.pods.resize(pod.index() + 1, None);
        }
        self.pods[pod.index()] = Some(kept);
    }

    /// cAdvisor finds a pod and samples it at once.
    fn discover(&mut self, cx: &mut Cx, pod: PodId) {
        let first = Housekeeping { samples: [None, None], next: cx.now, count: 0, used_before: 0, stopped: false };
        cx.world.cpu_meter(pod).remember();
        self.put(pod, first);
        // KWOK counts from the first time somebody asks.
        if !cx.plan.flags.metrics.stepwise {
            self.sample(cx, pod, cx.now);
        }
    }

    /// A pod may have ceased to run: it has been sampled until now.
    fn stop(&mut self, cx: &mut Cx, pod: PodId) {
        if !is_running(cx.world, pod) {
            self.catch_up(cx, pod);
            if let Some(Some(kept)) = self.pods.get_mut(pod.index()) {
                kept.stopped = true;
            }
        }
    }

    /// A pod may run again: where a sample was missed, cAdvisor begins anew.
    fn resume(&mut self, cx: &mut Cx, pod: PodId) {
        let Some(mut kept) = self.get(pod).filter(|kept| kept.stopped && is_running(cx.world, pod)) else { return };
        kept.stopped = false;
        self.put(pod, kept);
        if kept.next <= cx.now && !cx.plan.flags.metrics.exact {
            self.discover(cx, pod);
        }
    }

    /// Takes the samples of a pod that were due until now.
    fn catch_up(&mut self, cx: &mut Cx, pod: PodId) {
        if cx.plan.flags.metrics.exact {
            return;
        }
        while let Some(Some(kept)) = self.pods.get(pod.index())
            && kept.next <= cx.now
            && !kept.stopped
        {
            self.sample(cx, pod, kept.next);
        }
    }

    /// Samples a pod and says when the next sample comes: after 10 s, or 15 s when nothing changed, and up to as much more.
    fn sample(&mut self, cx: &Cx, pod: PodId, at: Time) {
        let Some(Some(kept)) = self.pods.get_mut(pod.index()) else { return };
        let flags = &cx.plan.flags.metrics;
        let used = if flags.stepwise {
            stepped(cx.world, pod, kept.samples[0])
        } else {
            used(cx.world, pod, at, kept.used_before)
        };
        let unchanged = kept.samples[0].is_some_and(|(_, before)| before == used);
        kept.samples = [Some((at, used)), kept.samples[0]];
        let base = if unchanged { flags.housekeeping_idle } else { flags.housekeeping_busy };
        kept.count += 1;
        let jitter = cx.phase(HOUSEKEEPING, pod_key(cx.world, pod) ^ kept.count << 40, base);
        kept.next = at + base + jitter;
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
            if !is_watched(cx, deployment) || !is_running(cx.world, pod) {
                continue;
            }
            let rate = steady_nanocores(cx, deployment);
            let used_before = nanos(rate, cx.plan.initial_age);
            let phase = cx.phase(HOUSEKEEPING, pod_key(cx.world, pod), interval);
            let tick = |at: Time| if flags.exact { at } else { latest_tick(cx.now + phase, interval, at) };
            for (page, at) in pages.iter_mut().zip(scrapes) {
                let at = tick(at);
                let counter = used_before.saturating_sub(nanos(rate, cx.now.since(at)));
                page.extend(page_of(
                    cx.world,
                    cx.plan.app_of(deployment).map(|app| &cx.plan.apps[app.index()]),
                    pod,
                    at,
                    counter,
                ));
            }
            let last = tick(cx.now);
            let counter = used_before.saturating_sub(nanos(rate, cx.now.since(last)));
            let next = cx.now + phase;
            let samples = [Some((last, counter)), None];
            self.put(pod, Housekeeping { samples, next, count: 0, used_before, stopped: false });
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

    fn publish(&mut self, cx: &mut Cx) {
        let is_exact = cx.plan.flags.metrics.exact;
        for index in 0..self.pods.len() {
            if self.pods[index].is_none() {
                continue;
            }
            let pod = PodId::at(index);
            if cx.world.pod(pod).gone.is_some() || is_exact && !is_running(cx.world, pod) {
                self.pods[index] = None;
            } else if is_exact {
                self.sample(cx, pod, cx.now);
            } else {
                self.catch_up(cx, pod);
            }
            cx.world.cpu_meter(pod).forget();
        }
        let mut samples = std::mem::take(&mut self.page);
        samples.clear();
        for (index, kept) in self.pods.iter().enumerate() {
            let pod = PodId::at(index);
            let Some((at, used)) = kept.and_then(|kept| kept.samples[0]) else { continue };
            if is_running(cx.world, pod) {
                let app = cx.world.deployment_of(pod).and_then(|deployment| cx.plan.app_of(deployment));
                samples.extend(page_of(cx.world, app.map(|app| &cx.plan.apps[app.index()]), pod, at, used));
            }
        }
        if cx.plan.flags.metrics.stepwise {
            // KWOK reports that every container started in 1970.
            samples.iter_mut().for_each(|sample| sample.start = Some(0));
        }
        self.storage.store(&samples, cx.plan.flags.metrics.resolution);
        self.page = samples;
        self.serve(cx);
    }

    /// The API serves what the storage answers, and nothing else.
    fn serve(&mut self, cx: &mut Cx) {
        let MetricsServer { storage, served, spare, .. } = self;
        let withdrawn = served.drain(..).filter_map(|pod| cx.world.take_pod_metrics(pod));
        spare.extend(withdrawn.map(|metrics| metrics.containers));
        storage.for_each_answer(|pod, answer| {
            let mut containers = spare.pop().unwrap_or_default();
            containers.clear();
            containers.extend(answer.containers.iter().map(|&(container, cpu, memory)| ContainerUsage {
                container,
                cpu_nanocores: Some(cpu as i64),
                memory_bytes: Some(memory as i64),
            }));
            let metrics = PodMetrics {
                timestamp: answer.timestamp.unwrap_or(Time::ZERO).whole_second(),
                window: Span::from_micros(answer.window.unsigned_abs() / 1_000),
                containers,
            };
            cx.world.set_pod_metrics(pod, Some(metrics));
            served.push(pod);
        });
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
fn is_running(world: &World, pod: PodId) -> bool {
    let entry = world.pod(pod);
    let init = world.template_of(pod).init_containers.len();
    let container = entry.containers.get(init).is_some_and(|status| status.running_since.is_some());
    entry.gone.is_none() && container && entry.node.is_some_and(|node| world.node(node).alive)
}

fn pod_key(world: &World, pod: PodId) -> u64 {
    world.pod(pod).key()
}

/// Nanoseconds of CPU used at this rate in that time.
fn nanos(nanocores: u64, span: Span) -> u64 {
    (u128::from(nanocores) * u128::from(span.micros()) / 1_000_000) as u64
}

/// The pod's counter; what runs has always used a little.
fn used(world: &World, pod: PodId, at: Time, used_before: u64) -> u64 {
    let started = world.pod(pod).containers.iter().filter_map(|status| status.running_since).min();
    let idle = started.map_or(0, |started| nanos(IDLE_NANOCORES, at.since(started)));
    let metered = world.cpu.get(pod.index()).map_or(0, |meter| meter.used_until(at));
    used_before + (metered as u64).max(idle.max(1))
}

/// KWOK's counter: it grows by the use at the moment of the scrape, as if that had been so since the scrape before, and begins
/// at zero with the first one, of which metrics-server then keeps nothing. Source: KWOK `pkg/kwok/server/metrics_resource_usage.go`.
fn stepped(world: &World, pod: PodId, before: Option<(Time, u64)>) -> u64 {
    let rate = world.cpu.get(pod.index()).map_or(0, |meter| meter.rate());
    before.map_or(0, |(at, counter)| counter + nanos(rate, world.now.since(at)))
}

/// The pod's lines on its kubelet's page.
fn page_of<'w>(
    world: &'w World,
    app: Option<&App>,
    pod: PodId,
    at: Time,
    used: u64,
) -> impl Iterator<Item = Sample<PodId>> + use<'w> {
    let entry = world.pod(pod);
    let init = world.template_of(pod).init_containers.len();
    let memory = app.map_or(MEMORY_UNKNOWN, |app| app.memory.max(1) as u64);
    let running =
        entry.containers[init..].iter().enumerate().filter_map(|(n, status)| Some((n, status.running_since?)));
    running.map(move |(container, start)| Sample {
        pod,
        container: container as u16,
        start: Some(nanos_since_1970(start)),
        timestamp: at,
        cpu_nanos: if container == 0 { used } else { nanos(IDLE_NANOCORES, at.since(start)).max(1) },
        memory: if container == 0 { memory } else { MEMORY_UNKNOWN / 4 },
    })
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
    let Some(app) = cx.plan.app_of(deployment).map(|app| &cx.plan.apps[app.index()]) else { return IDLE_NANOCORES };
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
