//! AWS Load Balancer Controller: the TargetGroupBinding reconciler.
//!
//! ```text
//!  EndpointsChanged (nodes, for instance targets) ─► queue: one entry a binding, the earlier time wins
//!  entry ─► resolve endpoints ─► checkpoint equal? skip : (LoadBalancerReconcile) ─► deregister, register in chunks
//!        ─► readiness gates ─► anything not healthy? again in 15 s : checkpoint
//! ```
//!
//! Source: aws-load-balancer-controller 3.2 `controllers/elbv2/targetgroupbinding_controller.go`,
//! `pkg/targetgroupbinding/resource_manager.go`, `targets_manager.go`, `pkg/backend/endpoint_utils.go`,
//! `pkg/aws/throttle/defaults.go`; controller-runtime 0.23 `pkg/controller/priorityqueue`.
//!
//! Left out: the controller's patches of the binding and the reconciles they cause, the deferred re-check after a
//! restart, security groups, availability zones of addresses, limits of a target group.

use crate::components::Cx;
use crate::engine::{Purpose, Span, Time};
use crate::plan::{BindingId, Plan, PodTemplate, Stage, TargetGroupBindingSpec, TargetGroupId, TargetPort};
use crate::rules::taint::{Taint, TaintEffect};
use crate::world::{Address, Endpoint, NodeId, NodeReadiness, PodId, TargetId, TargetReason, TargetState, World};

const FAILURE: Purpose = Purpose::named("load_balancer.failure");
const FAILURES: Purpose = Purpose::named("load_balancer.failures");

/// The first reconcile begins so long after the start.
const START: Span = Span::from_secs(1);

/// Its memory.
#[derive(Default)]
pub struct TargetGroupController {
    bindings: Vec<BindingState>,
    groups: Vec<TargetCache>,
    running: u32,
    bucket: TokenBucket,
}

/// One binding: its entry in the work queue, its checkpoint and the reconcile in progress.
#[derive(Clone, Debug, Default)]
struct BindingState {
    /// When the waiting entry is ready.
    ready: Option<Time>,
    /// Something happened while it ran.
    again: bool,
    /// The reconcile in progress.
    work: Option<Reconcile>,
    /// Reconciles begun.
    number: u64,
    failures: u32,
    checkpoint: Option<Vec<Wanted>>,
}

/// What a reconcile has found and has still to do.
#[derive(Clone, Debug, Default)]
struct Reconcile {
    wanted: Vec<Wanted>,
    /// Not counted, but may count soon without an event.
    potentially_ready: bool,
    deregister: Vec<TargetId>,
    register: Vec<Wanted>,
}

/// One target that should be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    address: Address,
    port: u16,
    pod: PodId,
    /// Instance targets.
    node: Option<NodeId>,
}

impl Wanted {
    /// The string by which targets are matched and ordered.
    fn name(&self) -> String {
        format!("{}:{}", self.address, self.port)
    }
}

/// What the controller remembers of a group's targets.
#[derive(Clone, Debug, Default)]
struct TargetCache {
    listed: Option<Time>,
    healthy: Vec<TargetId>,
}

/// `golang.org/x/time/rate`: tokens a second and burst.
#[derive(Clone, Debug, Default)]
struct TokenBucket {
    tokens: f64,
    at: Option<Time>,
}

impl TokenBucket {
    /// How long until a token is there; zero: it was taken.
    fn take(&mut self, now: Time, (rate, burst): (f64, f64)) -> Span {
        let before = self.at.replace(now);
        self.tokens = before.map_or(burst, |at| (self.tokens + (now - at).seconds() * rate).min(burst));
        // A token that is short by less than a microsecond's worth is there.
        if self.tokens + rate * 1e-6 >= 1.0 || rate <= 0.0 {
            self.tokens = (self.tokens - 1.0).max(0.0);
            return Span::ZERO;
        }
        Span::from_seconds((1.0 - self.tokens) / rate).max(Span::from_micros(1))
    }
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Endpoints of a binding's Service changed.
    Endpoints(BindingId),
    /// The entry of a binding may be ready.
    Queue(BindingId),
    /// The next call to AWS of a reconcile.
    Call(BindingId),
}

impl TargetGroupController {
    /// Bindings whose targets are as they should be have their checkpoint; the others are reconciled once the caches
    /// are full.
    pub fn start(&mut self, cx: &mut Cx) {
        self.bindings = vec![BindingState::default(); cx.plan.bindings.len()];
        self.groups = vec![TargetCache::default(); cx.plan.target_groups.len()];
        for index in 0..cx.plan.bindings.len() {
            let binding = &cx.plan.bindings[index];
            let (wanted, potentially_ready) = resolve(cx.plan, cx.world, binding);
            let (leaving, coming) = difference(cx.world, binding.target_group, &wanted);
            let gates = wanted.iter().any(|want| gate_open(cx.world, binding, want.pod));
            if potentially_ready || gates || !leaving.is_empty() || !coming.is_empty() {
                self.add(cx, BindingId::at(index), START);
            } else {
                self.bindings[index].checkpoint = Some(wanted);
            }
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Endpoints(binding) => self.add(cx, binding, Span::ZERO),
            Event::Queue(binding) => {
                if self.bindings[binding.index()].ready.is_some_and(|ready| ready <= cx.now) {
                    self.dispatch(cx);
                }
            }
            Event::Call(binding) => self.call(cx, binding),
        }
    }

    /// Adds a binding to the work queue: the earlier of two times wins.
    fn add(&mut self, cx: &mut Cx, binding: BindingId, after: Span) {
        let state = &mut self.bindings[binding.index()];
        if state.work.is_some() {
            state.again = true;
            return;
        }
        let at = cx.now + after;
        if state.ready.is_none_or(|ready| at < ready) {
            state.ready = Some(at);
            cx.at(at, crate::components::Event::TargetGroup(Event::Queue(binding)));
        }
    }

    /// Starts ready entries, oldest first, while a worker is free.
    fn dispatch(&mut self, cx: &mut Cx) {
        while self.running < cx.plan.flags.load_balancer.workers {
            let ready = (0..self.bindings.len())
                .filter_map(|index| self.bindings[index].ready.map(|ready| (ready, index)))
                .filter(|&(ready, _)| ready <= cx.now)
                .min();
            let Some((_, index)) = ready else { return };
            self.reconcile(cx, BindingId::at(index));
        }
    }

    fn reconcile(&mut self, cx: &mut Cx, id: BindingId) {
        let binding = &cx.plan.bindings[id.index()];
        let state = &mut self.bindings[id.index()];
        state.ready = None;
        state.number += 1;
        let key = u64::from(id.0) << 32 | state.number;
        let (wanted, potentially_ready) = resolve(cx.plan, cx.world, binding);
        let gates = cx.plan.flags.load_balancer.watches_pods
            && wanted.iter().any(|want| gate_open(cx.world, binding, want.pod));
        if state.checkpoint.as_ref() == Some(&wanted) && !potentially_ready && !gates {
            return;
        }
        self.running += 1;
        let (deregister, register) = difference(cx.world, binding.target_group, &wanted);
        let work = Reconcile { wanted, potentially_ready, deregister, register };
        self.bindings[id.index()].work = Some(work);
        let delay = cx.delay(Stage::LoadBalancerReconcile, key);
        cx.after(delay, crate::components::Event::TargetGroup(Event::Call(id)));
    }

    /// Makes the next calls to AWS; waits where the client's throttle does.
    fn call(&mut self, cx: &mut Cx, id: BindingId) {
        let flags = &cx.plan.flags.load_balancer;
        let binding = &cx.plan.bindings[id.index()];
        let Some(mut work) = self.bindings[id.index()].work.take() else { return };
        let key = u64::from(id.0) << 32 | self.bindings[id.index()].number;
        if cx.random.is_some() && cx.chance(FAILURE, key, flags.failure_chance) {
            let failures = cx.pick(FAILURES, key, 18);
            self.bindings[id.index()].failures = u32::try_from(failures).unwrap_or(0);
            self.fail(cx, id);
            return;
        }
        let chunk = flags.chunk.max(1) as usize;
        while !work.deregister.is_empty() || !work.register.is_empty() {
            let wait = self.bucket.take(cx.now, flags.register_rate);
            if !wait.is_zero() {
                self.bindings[id.index()].work = Some(work);
                cx.after(wait, crate::components::Event::TargetGroup(Event::Call(id)));
                return;
            }
            self.bindings[id.index()].checkpoint = None;
            if work.deregister.is_empty() {
                let count = chunk.min(work.register.len());
                for want in work.register.drain(..count) {
                    register(cx.world, binding.target_group, want);
                }
            } else {
                let count = chunk.min(work.deregister.len());
                for target in work.deregister.drain(..count) {
                    deregister(cx.world, target);
                }
            }
        }
        self.finish(cx, id, work);
    }

    /// Gates, checkpoint or requeue.
    fn finish(&mut self, cx: &mut Cx, id: BindingId, work: Reconcile) {
        let binding = &cx.plan.bindings[id.index()];
        let cache = &mut self.groups[binding.target_group.index()];
        refresh(cache, cx.world, binding.target_group, cx.now, cx.plan.flags.load_balancer.cache);
        let mut pending = work.potentially_ready;
        for want in &work.wanted {
            let Some(gate) = gate_of(cx.world, binding, want.pod).filter(|_| want.node.is_none()) else { continue };
            let target = registered(cx.world, binding.target_group, want);
            let healthy = target.is_some_and(|target| cache.healthy.contains(&target));
            pending |= !healthy;
            if cx.world.pod(want.pod).gone.is_none() {
                cx.world.set_gate(want.pod, gate, healthy);
            }
        }
        let state = &mut self.bindings[id.index()];
        state.failures = 0;
        state.checkpoint = (!pending).then_some(work.wanted);
        let requeue = pending.then_some(cx.plan.flags.load_balancer.requeue);
        self.done(cx, id, requeue);
    }

    /// An error: nothing was done, the next try comes after the back-off.
    fn fail(&mut self, cx: &mut Cx, id: BindingId) {
        let flags = &cx.plan.flags.load_balancer;
        let failures = self.bindings[id.index()].failures;
        self.bindings[id.index()].checkpoint = None;
        self.done(cx, id, Some(backoff(failures, flags.backoff_initial, flags.backoff_max)));
    }

    fn done(&mut self, cx: &mut Cx, id: BindingId, requeue: Option<Span>) {
        self.running -= 1;
        let again = std::mem::take(&mut self.bindings[id.index()].again);
        if again {
            self.add(cx, id, Span::ZERO);
        } else if let Some(after) = requeue {
            self.add(cx, id, after);
        }
        self.dispatch(cx);
    }
}

/// The wait before the try that follows so many failures in a row and one more.
fn backoff(failures: u32, initial: Span, max: Span) -> Span {
    (initial * 2_u64.saturating_pow(failures)).min(max)
}

/// Which targets should be registered, in the order of their strings; and whether some pod that does not count may
/// count soon without an event that says so.
fn resolve(plan: &Plan, world: &World, binding: &TargetGroupBindingSpec) -> (Vec<Wanted>, bool) {
    let named = |service: &std::sync::Arc<crate::plan::ServiceSpec>| {
        service.namespace == binding.namespace && service.name == binding.service_name
    };
    let Some(index) = plan.services.iter().position(named) else { return (Vec::new(), false) };
    let service = &plan.services[index];
    let port = service.ports.iter().find(|port| {
        port.name == binding.service_port && !port.name.is_empty() || port.port.to_string() == binding.service_port
    });
    let Some(port) = port else { return (Vec::new(), false) };
    let endpoints = &world.endpoints[index];
    if binding.instance_targets {
        return (nodes(world, binding, endpoints, port.port), false);
    }
    let (mut counted, mut unknown, mut potentially) = (Vec::new(), Vec::new(), false);
    for endpoint in endpoints {
        let want = || {
            let port = pod_port(world.template_of(endpoint.pod), &port.target)?;
            Some(Wanted { address: endpoint.address, port, pod: endpoint.pod, node: None })
        };
        match judge(plan, world, binding, endpoint) {
            Standing::Counted => counted.extend(want()),
            Standing::NodeUnknown => unknown.extend(want()),
            Standing::PotentiallyReady => potentially = true,
            Standing::Out => {}
        }
    }
    let mut wanted = if counted.is_empty() { unknown } else { counted };
    wanted.sort_by_cached_key(Wanted::name);
    (wanted, potentially)
}

/// How an endpoint stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Counted,
    /// Counts only if nothing else does (fail-open).
    NodeUnknown,
    /// Its gate waits for the target: look again.
    PotentiallyReady,
    Out,
}

fn judge(plan: &Plan, world: &World, binding: &TargetGroupBindingSpec, endpoint: &Endpoint) -> Standing {
    if endpoint.ready {
        return Standing::Counted;
    }
    let pod = world.pod(endpoint.pod);
    if !pod.containers_ready.is_true() {
        let retried = !plan.flags.load_balancer.watches_pods;
        let gated = gate_of(world, binding, endpoint.pod).is_some();
        return if gated && retried { Standing::PotentiallyReady } else { Standing::Out };
    }
    match endpoint.node.map(|node| world.node(node)).filter(|node| node.gone.is_none()).map(|node| node.readiness) {
        Some(NodeReadiness::Ready) if !endpoint.terminating => Standing::Counted,
        Some(NodeReadiness::Unknown) => Standing::NodeUnknown,
        Some(NodeReadiness::Ready | NodeReadiness::NotReady) | None => Standing::Out,
    }
}

/// Instance targets: suitable nodes that are Ready, or of unknown readiness if none is.
fn nodes(world: &World, binding: &TargetGroupBindingSpec, endpoints: &[Endpoint], port: u16) -> Vec<Wanted> {
    const EXCLUDED: [&str; 3] = [
        "node-role.kubernetes.io/master",
        "node.kubernetes.io/exclude-from-external-load-balancers",
        "alpha.service-controller.kubernetes.io/exclude-balancer",
    ];
    let Some(first) = endpoints.first() else { return Vec::new() };
    let disrupted = Taint::new("karpenter.sh/disrupted", TaintEffect::NoSchedule);
    let suitable = |node: &&crate::world::Node| {
        node.gone.is_none()
            && !EXCLUDED.iter().any(|label| node.labels.contains_key(*label))
            && node.labels.get("eks.amazonaws.com/compute-type").map(String::as_str) != Some("fargate")
            && binding.node_selector.as_ref().is_none_or(|selector| selector.matches(&node.labels))
            && !node
                .taints
                .iter()
                .any(|taint| taint.key == "ToBeDeletedByClusterAutoscaler" || taint.is_same(&disrupted))
    };
    let with = |readiness| {
        let chosen = world.nodes.iter().filter(suitable).filter(move |node| node.readiness == readiness);
        let wanted = chosen.map(|node| Wanted {
            address: Address(0x0a80_0000 + node.id.0),
            port,
            pod: endpoints.iter().find(|point| point.node == Some(node.id)).unwrap_or(first).pod,
            node: Some(node.id),
        });
        wanted.collect::<Vec<_>>()
    };
    let mut wanted = with(NodeReadiness::Ready);
    if wanted.is_empty() {
        wanted = with(NodeReadiness::Unknown);
    }
    wanted.sort_by_cached_key(Wanted::name);
    wanted
}

/// The port of a pod behind a Service port.
fn pod_port(template: &PodTemplate, target: &TargetPort) -> Option<u16> {
    match target {
        TargetPort::Number(port) => Some(*port),
        TargetPort::Name(name) => {
            let mut ports = template.containers.iter().flat_map(|container| &container.ports);
            ports.find(|port| port.name == *name).map(|port| port.port)
        }
    }
}

/// What to deregister and what to register, each in the order of the strings. Draining targets are as good as absent;
/// targets and endpoints are matched by address and port alone.
fn difference(world: &World, group: TargetGroupId, wanted: &[Wanted]) -> (Vec<TargetId>, Vec<Wanted>) {
    let present: Vec<TargetId> = (world.group_targets[group.index()].iter().copied())
        .filter(|target| world.targets[target.index()].deregistered.is_none())
        .collect();
    let place = |target: &TargetId| {
        let entry = &world.targets[target.index()];
        (entry.address, entry.port)
    };
    let mut places: Vec<_> = present.iter().map(place).collect();
    places.sort_unstable();
    let mut kept: Vec<_> = wanted.iter().map(|want| (want.address, want.port)).collect();
    kept.sort_unstable();
    let mut leaving: Vec<TargetId> =
        present.into_iter().filter(|target| kept.binary_search(&place(target)).is_err()).collect();
    leaving.sort_by_cached_key(|target| {
        let (address, port) = place(target);
        format!("{address}:{port}")
    });
    let coming = wanted.iter().filter(|want| places.binary_search(&(want.address, want.port)).is_err());
    (leaving, coming.copied().collect())
}

/// The target of an endpoint that is registered and not draining.
fn registered(world: &World, group: TargetGroupId, want: &Wanted) -> Option<TargetId> {
    world.group_targets[group.index()].iter().copied().find(|target| {
        let entry = &world.targets[target.index()];
        entry.deregistered.is_none() && (entry.address, entry.port) == (want.address, want.port)
    })
}

/// RegisterTargets; an address that is registered already stays as it is.
fn register(world: &mut World, group: TargetGroupId, want: Wanted) {
    if registered(world, group, &want).is_some() {
        return;
    }
    match want.node {
        Some(node) => world.register_node_target(group, node, want.pod, want.port),
        None => world.register_target(group, want.pod, want.address, want.port),
    };
}

/// DeregisterTargets.
fn deregister(world: &mut World, target: TargetId) {
    if world.targets[target.index()].gone.is_none() {
        world.set_target_state(target, TargetState::Draining, TargetReason::DeregistrationInProgress);
    }
}

/// DescribeTargetHealth: all of the group when the cache is too old, else those not known as healthy.
fn refresh(cache: &mut TargetCache, world: &World, group: TargetGroupId, now: Time, ttl: Span) {
    if cache.listed.is_none_or(|listed| now - listed >= ttl) {
        cache.listed = Some(now);
        cache.healthy.clear();
    }
    let targets = &world.group_targets[group.index()];
    cache.healthy.retain(|target| world.targets[target.index()].deregistered.is_none());
    for &target in targets {
        if world.targets[target.index()].state == TargetState::Healthy && !cache.healthy.contains(&target) {
            cache.healthy.push(target);
        }
    }
}

/// The position of a binding's readiness gate in a pod's template.
fn gate_of(world: &World, binding: &TargetGroupBindingSpec, pod: PodId) -> Option<usize> {
    let gates = &world.template_of(pod).readiness_gates;
    gates.iter().position(|gate| gate.strip_prefix("target-health.elbv2.k8s.aws/") == Some(binding.name.as_str()))
}

/// The pod carries the binding's gate and it is not True.
fn gate_open(world: &World, binding: &TargetGroupBindingSpec, pod: PodId) -> bool {
    gate_of(world, binding, pod).is_some_and(|gate| world.pod(pod).gate_conditions[gate] != Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_throttle_lets_a_burst_pass_and_then_four_a_second() {
        let mut bucket = TokenBucket::default();
        let now = Time::from_unix_seconds(50);
        assert!((0..20).all(|_| bucket.take(now, (4.0, 20.0)).is_zero()));
        assert_eq!(bucket.take(now, (4.0, 20.0)), Span::from_millis(250));
        assert!(bucket.take(now + Span::from_millis(250), (4.0, 20.0)).is_zero());
    }

    #[test]
    fn back_off_doubles_from_5_ms_to_1000_s() {
        let of = |failures| backoff(failures, Span::from_millis(5), Span::from_secs(1000));
        assert_eq!(of(0), Span::from_millis(5));
        assert_eq!(of(10), Span::from_millis(5120));
        assert_eq!(of(18), Span::from_secs(1000));
        assert_eq!(of(200), Span::from_secs(1000));
    }

    #[test]
    fn targets_are_ordered_by_their_strings() {
        let want = |last: u32| Wanted { address: Address(0x0a00_0000 + last), port: 80, pod: PodId(0), node: None };
        let mut wanted = [want(9), want(10), want(100)];
        wanted.sort_by_cached_key(Wanted::name);
        assert_eq!(
            wanted.map(|want| want.address.0 & 0xff),
            [100, 10, 9],
            "10.0.0.100:80 < 10.0.0.10:80 < 10.0.0.9:80"
        );
    }
}
