//! An autoscaler with a cluster that a test writes by hand: the controller runs on its own events through `handle`.

use kubelapse::components::kubernetes::hpa::Hpa;
use kubelapse::components::{Cx, Event};
use kubelapse::engine::{Queue, Random, Span, Time};
use kubelapse::plan::{
    Container, DeploymentId, DeploymentSpec, HpaId, HpaSpec, MetricSpec, MetricTarget, Plan, PodTemplate, Strategy,
    TemplateId,
};
use kubelapse::record::{Detail, Recorder};
use kubelapse::rules::labels::LabelSelector;
use kubelapse::rules::quantity::{Millicores, Quantity};
use kubelapse::rules::resources::ResourceList;
use kubelapse::world::{
    Change, Condition, ContainerUsage, HpaStatus, NewPod, Owner, PodId, PodMetrics, PodPhase, World,
};
use std::sync::Arc;

/// The start of every such run.
pub const START: Time = Time::from_unix_seconds(1_000_000);

/// A pod as a test describes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Is {
    /// Ready for long, with this use in millicores.
    Ready(i64),
    /// Never Ready since its start long ago, with this use.
    Unready(i64),
    /// Ready, but started too recently for its sample to count.
    Hot(i64),
    /// Without a node.
    Pending,
    /// Failed.
    Failed,
    /// Being deleted.
    Deleting,
    /// Ready for long, without a sample.
    Missing,
}

/// A plan of one Deployment `web` and one autoscaler with this metric, from 1 to `most` replicas.
pub fn plan(replicas: i32, most: i32, metric: MetricSpec) -> Plan {
    let mut plan = Plan::empty(START, Span::from_secs(100_000));
    let labels = [("app".to_string(), "web".to_string())].into();
    let selector = LabelSelector::from_labels(&labels);
    plan.templates.push(Arc::new(template(1000)));
    plan.deployments.push(Arc::new(DeploymentSpec {
        namespace: "default".to_string(),
        name: "web".to_string(),
        replicas,
        selector,
        template: TemplateId(0),
        strategy: Strategy::Recreate,
        min_ready: Span::ZERO,
        progress_deadline: Span::from_secs(600),
        revision_history_limit: 10,
        paused: false,
    }));
    plan.hpas.push(Arc::new(HpaSpec {
        namespace: "default".to_string(),
        name: "web".to_string(),
        target_version: "apps/v1".to_string(),
        target_kind: "Deployment".to_string(),
        target_name: "web".to_string(),
        min_replicas: 1,
        max_replicas: most,
        metrics: vec![metric],
        behavior: None,
    }));
    plan
}

/// Pods of that request.
pub fn template(request: i64) -> PodTemplate {
    let requests = ResourceList { cpu: Some(Millicores(request)), ..ResourceList::default() };
    let container = Container { name: "app".to_string(), requests, ..Container::default() };
    let labels = [("app".to_string(), "web".to_string())].into();
    PodTemplate { labels, containers: vec![container], ..PodTemplate::default() }
}

/// CPU as a share of the request, percent.
pub fn cpu(percent: i32) -> MetricSpec {
    let target = MetricTarget { average_utilization: Some(percent), ..MetricTarget::default() };
    MetricSpec::Resource { name: "cpu".to_string(), target }
}

/// An external metric of which each pod is to have one.
pub fn queue() -> MetricSpec {
    let target = MetricTarget { average_value: Some(Quantity::whole(1)), ..MetricTarget::default() };
    MetricSpec::External { metric: "queue".to_string(), selector: None, target }
}

/// The controller, its events and its world.
pub struct Bench<'p> {
    plan: &'p Plan,
    hpa: Hpa,
    pub world: World,
    events: Queue<Event>,
    recorder: Recorder,
    random: Option<Random>,
}

impl<'p> Bench<'p> {
    /// A controller that has started.
    pub fn new(plan: &'p Plan, random: Option<Random>) -> Bench<'p> {
        let (world, recorder) = (World::new(plan), Recorder::new(Detail::Facts));
        let mut bench = Bench { plan, hpa: Hpa::default(), world, events: Queue::new(), recorder, random };
        bench.act(START, Hpa::start);
        bench
    }

    fn act(&mut self, now: Time, act: impl FnOnce(&mut Hpa, &mut Cx)) {
        self.world.now = now;
        let Bench { plan, hpa, world, events, recorder, random } = self;
        act(hpa, &mut Cx { now, plan, world, queue: events, recorder, random: random.as_ref() });
    }

    /// Runs to the end of the next sync: which autoscaler's, and when it began.
    pub fn sync(&mut self) -> (HpaId, Time) {
        loop {
            let (now, event) = self.events.pop().expect("an entry is always waiting");
            let Event::Hpa(event) = event else { panic!("{event:?}") };
            self.act(now, |hpa, cx| hpa.handle(cx, event));
            let mut journal = Vec::new();
            self.world.take_journal(&mut journal);
            let synced = journal.iter().find_map(|change| match change {
                Change::HpaSynced(hpa) => Some(*hpa),
                _ => None,
            });
            if let Some(hpa) = synced {
                return (hpa, self.world.hpas[hpa.index()].outcome.began);
            }
        }
    }

    /// The size that the Deployment has been given.
    pub fn size(&self) -> i32 {
        self.world.deployments[0].replicas
    }

    /// Another size, by somebody else.
    pub fn set_size(&mut self, size: i32) {
        self.world.scale_deployment(DeploymentId(0), size, None);
    }

    /// The status of the first autoscaler.
    pub fn status(&self) -> HpaStatus {
        self.world.hpas[0].status
    }

    /// The length of the queue that [`queue`] measures.
    pub fn set_queue(&mut self, length: i64) {
        self.world.custom_metrics.external.insert("queue".to_string(), vec![(Default::default(), length * 1000)]);
    }

    /// The pods that exist, as they are at `now`; further ones are made, surplus ones fail.
    pub fn set_pods(&mut self, now: Time, pods: &[(TemplateId, Is)]) {
        self.world.now = now;
        while self.world.pods.len() < pods.len() {
            let ordinal = self.world.pods.len() as u32 + 1;
            let (template, owner) = (TemplateId(0), Owner::Bare);
            self.world.create_pod(NewPod { template, owner, ordinal, pinned: None, name: None });
        }
        for index in 0..self.world.pods.len() {
            let (template, state) = pods.get(index).copied().unwrap_or((TemplateId(0), Is::Failed));
            self.set_pod(now, PodId::at(index), template, state);
        }
    }

    fn set_pod(&mut self, now: Time, id: PodId, template: TemplateId, state: Is) {
        let long_ago = START.back(Span::from_secs(3_600));
        let just_now = now.back(Span::from_secs(10));
        let started = if matches!(state, Is::Hot(_)) { just_now } else { long_ago };
        let pod = &mut self.world.pods[id.index()];
        pod.template = template;
        pod.phase = match state {
            Is::Pending => PodPhase::Pending,
            Is::Failed => PodPhase::Failed,
            _ => PodPhase::Running,
        };
        pod.start_time = (state != Is::Pending).then_some(started);
        let ready = Some(!matches!(state, Is::Unready(_) | Is::Pending | Is::Failed));
        pod.ready = Condition { status: ready, since: started, exact: started };
        pod.deleting_since = (state == Is::Deleting).then_some(just_now);
        let metrics = match state {
            Is::Ready(milli) | Is::Unready(milli) | Is::Hot(milli) => {
                let usage = ContainerUsage { container: 0, cpu_nanocores: Some(milli * 1_000_000), memory_bytes: None };
                let (timestamp, window) = (now.whole_second(), Span::from_secs(15));
                Some(PodMetrics { timestamp, window, containers: vec![usage] })
            }
            Is::Pending | Is::Failed | Is::Deleting | Is::Missing => None,
        };
        self.world.set_pod_metrics(id, metrics);
    }
}
