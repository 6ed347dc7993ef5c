//! Recommender of the Vertical Pod Autoscaler: which requests the use that was seen asks for.
//!
//! ```text
//! metrics API --(every minute)--> histories of cpu and memory --(when read)--> percentile, margin, bounds --> advice
//! ```
//!
//! Source: `vertical-pod-autoscaler/pkg/recommender` of kubernetes/autoscaler 1.8. One recommendation per container of
//! each Deployment that has a load model, as if a VerticalPodAutoscaler without a policy selected its pods; nothing is
//! applied (`updateMode: Off`). Pods of one ReplicaSet have equal labels, so each revision has histories of its own.
//!
//! Left out: checkpoints and history from Prometheus (a run starts with no history), the garbage collection of
//! histories older than 8 days, whole cores, limit ranges. No container of this world is killed for its memory, so no
//! kill is reported; [`model::Workload::record_oom`] is what it would call.

pub mod estimate;
pub mod histogram;
mod math;
pub mod model;

use crate::components::{self, Cx};
use crate::engine::Purpose;
use crate::plan::DeploymentId;
use crate::plan::flags::VpaFlags;
use crate::rules::quantity::{Bytes, Millicores};
use crate::world::{PodId, Recommendation, RecommendedAmounts, World};
use estimate::Amounts;
use model::{History, Workload};
use std::collections::BTreeSet;

/// Its memory: what the pods of each Deployment have used.
#[derive(Default)]
pub struct VpaRecommender {
    workloads: Vec<(DeploymentId, Workload)>,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// `--recommender-interval` has passed.
    Tick,
}

impl VpaRecommender {
    /// Schedules the first events: none if there is no load model.
    pub fn start(&mut self, cx: &mut Cx) {
        let deployments: BTreeSet<DeploymentId> = cx.plan.apps.iter().map(|app| app.deployment).collect();
        self.workloads = deployments.into_iter().map(|deployment| (deployment, Workload::default())).collect();
        let period = cx.plan.flags.vpa.period;
        if self.workloads.is_empty() || period.is_zero() {
            return;
        }
        let phase = cx.phase(Purpose::named("vpa_recommender.phase"), 0, period);
        cx.after(phase, components::Event::VpaRecommender(Event::Tick));
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Tick => {}
        }
        let flags = &cx.plan.flags.vpa;
        for (deployment, workload) in &mut self.workloads {
            observe(workload, *deployment, cx.world, flags);
        }
        if cx.now + flags.period > cx.plan.until {
            // The last tick. Nobody reads a recommendation before.
            return self.conclude(cx);
        }
        cx.after(flags.period, components::Event::VpaRecommender(Event::Tick));
    }

    /// After the last tick, or when a limit has stopped the run before it: what was seen until now is what there is. It is made
    /// into recommendations when somebody reads them.
    pub fn conclude(&mut self, cx: &mut Cx) {
        let (mut workloads, flags) = (std::mem::take(&mut self.workloads), cx.plan.flags.vpa.clone());
        if workloads.is_empty() {
            return;
        }
        cx.world.advise(move || {
            let decided = workloads.iter_mut().map(|(deployment, workload)| decide(workload, *deployment, &flags));
            decided.flatten().collect()
        });
    }
}

/// Reads the metrics of a Deployment's pods and forgets the pods that have gone.
fn observe(workload: &mut Workload, deployment: DeploymentId, world: &World, flags: &VpaFlags) {
    let replica_sets = world.deployments[deployment.index()].replica_sets.iter();
    let sets = replica_sets.map(|&id| (id, &world.replica_sets[id.index()].pods));
    let (mut known, mut next) = (0, 0);
    for (replica_set, pods) in sets.clone() {
        for &pod in pods {
            // Pods of a set come in order.
            next = observe_pod(workload, (pod, replica_set.0), next, world, flags).map_or(next, |place| place + 1);
            known += usize::from(!world.template_of(pod).containers.is_empty());
        }
    }
    // All that exist are known by now: others only if there are more.
    if workload.pods() > known {
        let mut existing: Vec<u32> = sets.flat_map(|(_, pods)| pods).map(|pod| pod.0).collect();
        existing.sort_unstable();
        workload.retain_pods(|pod| existing.binary_search(&pod).is_ok());
    }
}

/// Reads what the metrics API serves for a pod of a label set. What it served before is recognised by its time. Out: where the
/// pod is kept, which is looked for at a place first.
fn observe_pod(
    workload: &mut Workload,
    (pod, label_set): (PodId, u32),
    first: usize,
    world: &World,
    flags: &VpaFlags,
) -> Option<usize> {
    let containers = &world.template_of(pod).containers;
    let mut known = workload.place_of_pod(pod.0, first);
    if known.is_none_or(|(_, known)| known != containers.len()) {
        for container in containers {
            workload.add_container(flags, pod.0, label_set, &container.name);
        }
        known = workload.place_of_pod(pod.0, first);
    }
    let (place, _) = known?;
    let Some(metrics) = world.metrics_of(pod) else { return Some(place) };
    for usage in &metrics.containers {
        let position = usize::from(usage.container);
        let Some(container) = containers.get(position) else { continue };
        // The API serves nanocores; the recommender asks for millicores, which round up.
        let millicores = usage
            .cpu_nanocores
            .map(|nanocores| nanocores.div_euclid(1_000_000) + i64::from(nanocores.rem_euclid(1_000_000) != 0));
        let usage = (millicores, usage.memory_bytes);
        workload.add_usage(flags, place, (position, &container.name), metrics.timestamp, usage);
    }
    Some(place)
}

/// The recommendations for the containers that were measured, by name.
fn decide(workload: &mut Workload, deployment: DeploymentId, flags: &VpaFlags) -> Vec<Recommendation> {
    let histories = workload.merged(flags);
    let recommended = estimate::recommend(&histories, &[], flags);
    let measured = recommended.into_iter().filter(|(name, _)| histories[name].samples > 0);
    measured
        .map(|(container, entry)| {
            let history = &histories[&container];
            let (first, last) = history.span();
            Recommendation {
                deployment,
                target: amounts(entry.target, history),
                lower_bound: amounts(entry.lower_bound, history),
                upper_bound: amounts(entry.upper_bound, history),
                samples: history.samples,
                history: last.since(first),
                container,
            }
        })
        .collect()
}

/// Whole millicores and bytes; memory that nobody measured has no amount.
fn amounts(amounts: Amounts, history: &History) -> RecommendedAmounts {
    let memory = amounts.memory.filter(|_| !history.memory.is_empty());
    RecommendedAmounts {
        cpu: amounts.cpu.map(|cpu| Millicores(cpu.milli_ceil())),
        memory: memory.map(|memory| Bytes(memory.units_ceil())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Queue, Span, Time};
    use crate::plan::{
        App, Clients, Container, Curve, Demand, DeploymentSpec, Distribution, Plan, PodTemplate, Strategy, TemplateId,
        TrafficMode,
    };
    use crate::record::{Detail, Recorder};
    use crate::rules::labels::LabelSelector;
    use crate::world::{ContainerUsage, NewPod, Owner, PodMetrics};
    use std::sync::Arc;

    const START: Time = Time::from_unix_seconds(946_684_800);
    const WEB: DeploymentId = DeploymentId(0);

    /// A Deployment of pods with the containers `app` and `side`, with or without a load model.
    fn plan(with_app: bool) -> Plan {
        let mut plan = Plan::empty(START, Span::from_secs(3600));
        let container = |name: &str| Container { name: name.to_string(), ..Container::default() };
        let containers = vec![container("app"), container("side")];
        plan.templates.push(Arc::new(PodTemplate { containers, ..PodTemplate::default() }));
        plan.deployments.push(Arc::new(DeploymentSpec {
            namespace: "default".to_string(),
            name: "web".to_string(),
            replicas: 1,
            selector: LabelSelector::default(),
            template: TemplateId(0),
            strategy: Strategy::Recreate,
            min_ready: Span::ZERO,
            progress_deadline: Span::from_secs(600),
            revision_history_limit: 10,
            paused: false,
        }));
        if with_app {
            plan.apps.push(app());
        }
        plan
    }

    fn app() -> App {
        App {
            name: "web".to_string(),
            deployment: WEB,
            target_group: None,
            cpu_per_request: Span::ZERO,
            wait_per_request: Span::ZERO,
            demand: Demand::default(),
            workers: 1,
            queue: 0,
            start: Distribution::Constant(Span::ZERO),
            stop: Distribution::Constant(Span::ZERO),
            drains: crate::plan::Drains::Listening,
            idle_cpu: Millicores(0),
            memory: 0,
            memory_is_given: true,
            latency_objective: Span::ZERO,
            cores: None,
            cores_per_pod: None,
            load_group: None,
            traffic: Curve::default(),
            clients: Clients::default(),
            mode: TrafficMode::Requests,
            probes_wait: None,
            keep_alive: None,
        }
    }

    /// A world with one pod, and the means to drive the component alone.
    struct Bench {
        plan: Plan,
        world: World,
        queue: Queue<components::Event>,
        recorder: Recorder,
        recommender: VpaRecommender,
        pod: PodId,
    }

    impl Bench {
        fn new(plan: Plan) -> Bench {
            let mut world = World::new(&plan);
            let owner = Owner::ReplicaSet(world.create_replica_set(WEB, 1));
            let pod = world.create_pod(NewPod { template: TemplateId(0), owner, ordinal: 1, pinned: None, name: None });
            let recorder = Recorder::new(Detail::Facts);
            let recommender = VpaRecommender::default();
            let mut bench = Bench { plan, world, queue: Queue::new(), recorder, recommender, pod };
            bench.with(START, |recommender, cx| recommender.start(cx));
            bench
        }

        fn with(&mut self, now: Time, act: impl FnOnce(&mut VpaRecommender, &mut Cx)) {
            self.world.now = now;
            let Bench { plan, world, queue, recorder, recommender, .. } = self;
            act(recommender, &mut Cx { now, plan, world, queue, recorder, random: None });
        }

        fn serve(&mut self, timestamp: Time, nanocores: i64, memory_bytes: Option<i64>) {
            let usage = ContainerUsage { container: 0, cpu_nanocores: Some(nanocores), memory_bytes };
            let metrics = PodMetrics { timestamp, window: Span::from_secs(15), containers: vec![usage] };
            self.world.set_pod_metrics(self.pod, Some(metrics));
        }

        fn tick(&mut self) {
            let (now, _) = self.queue.pop().expect("a tick is due");
            self.with(now, |recommender, cx| recommender.handle(cx, Event::Tick));
        }

        /// The run ends now.
        fn recommendations(&mut self) -> &[Recommendation] {
            self.with(self.world.now, |recommender, cx| recommender.conclude(cx));
            self.world.recommendations_of(WEB)
        }
    }

    #[test]
    fn there_is_a_tick_a_minute_and_none_without_a_load_model() {
        assert!(Bench::new(plan(false)).queue.is_empty());
        let mut off = plan(true);
        off.flags.vpa.period = Span::ZERO;
        assert!(Bench::new(off).queue.is_empty());
        let mut bench = Bench::new(plan(true));
        bench.tick();
        assert_eq!(bench.world.now, START + Span::from_secs(30), "half a period without noise");
        bench.tick();
        assert_eq!(bench.world.now, START + Span::from_secs(90));
        assert_eq!(bench.queue.len(), 1);
    }

    #[test]
    fn nothing_is_recommended_where_nothing_was_measured() {
        let mut bench = Bench::new(plan(true));
        bench.tick();
        assert!(bench.recommendations().is_empty());
    }

    #[test]
    fn the_last_tick_of_a_run_recommends() {
        let mut bench = Bench::new(plan(true));
        bench.serve(START, 400_000_000, None);
        bench.plan.until = START + Span::from_secs(31);
        bench.tick();
        assert_eq!(bench.world.recommendations_of(WEB)[0].target.cpu, Some(Millicores(476)));
        assert!(bench.queue.is_empty());
        assert_eq!(bench.recommendations().len(), 1, "it stays");
    }

    #[test]
    fn what_was_measured_gets_a_recommendation() {
        let mut bench = Bench::new(plan(true));
        bench.tick();
        bench.serve(START + Span::from_secs(75), 399_000_001, Some(500 << 20));
        bench.tick();
        bench.serve(START + Span::from_secs(135), 400_000_000, Some(100 << 20));
        bench.tick();
        let [entry] = bench.recommendations() else { panic!("side was never measured") };
        assert_eq!((entry.container.as_str(), entry.samples, entry.history), ("app", 2, Span::from_secs(60)));
        assert_eq!(entry.target.cpu, Some(Millicores(476)));
        assert_eq!(entry.target.memory, Some(Bytes(628_694_953)), "the peak counts");
        assert!(entry.lower_bound.cpu < entry.target.cpu && entry.target.cpu < entry.upper_bound.cpu);
    }

    #[test]
    fn what_was_served_before_is_no_new_sample() {
        let mut bench = Bench::new(plan(true));
        bench.serve(START, 400_000_000, None);
        bench.tick();
        bench.tick();
        let entry = &bench.recommendations()[0];
        assert_eq!(entry.samples, 1);
        assert_eq!((entry.target.memory, entry.upper_bound.memory), (None, None), "nobody measured memory");
    }

    #[test]
    fn the_use_of_pods_that_have_gone_still_counts() {
        let mut bench = Bench::new(plan(true));
        bench.serve(START, 400_000_000, None);
        bench.tick();
        bench.world.remove_pod(bench.pod);
        bench.tick();
        assert_eq!(bench.recommendations()[0].target.cpu, Some(Millicores(476)));
    }
}
