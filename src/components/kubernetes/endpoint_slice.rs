//! EndpointSlice controller.
//!
//! ```text
//!  PodReady, PodAddress, PodDeleting, PodGone ─► Sync(service) ─(batch period)─► Write(service)
//!                                                  │ reads pods, nodes
//!                                                  └► World::set_endpoints ─► EndpointsChanged
//! ```
//!
//! Source: `pkg/controller/endpointslice`, staging `endpointslice/{reconciler,utils}.go`. Left out: the division into
//! slices (all endpoints of a Service are one list, by pod), ports, hints, write failures.

use crate::components::{self, Cx};
use crate::engine::{Span, Time};
use crate::plan::{ServiceId, ServiceSpec};
use crate::world::{Endpoint, Pod, PodId, World};

/// Retries of a sync that left out a pod whose node does not exist. Source: `maxRetries`.
const RETRIES_MAX: u32 = 15;

/// What the controller keeps of one Service.
#[derive(Default)]
struct Known {
    /// Selected pods whose objects exist, by id.
    pods: Vec<PodId>,
    /// A write that waits for the batch period or a retry.
    due: Option<Time>,
    /// Syncs in a row that met a missing node.
    retries: u32,
}

/// Its memory.
#[derive(Default)]
pub struct EndpointSlice {
    services: Vec<Known>,
    /// Pods that were looked at: all with a lower position are in the lists of the Services that select them.
    listed: usize,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Look at a Service again.
    Sync(ServiceId),
    /// A batch period or a retry delay is over.
    Write(ServiceId),
}

impl EndpointSlice {
    /// Brings all Services up to date.
    pub fn start(&mut self, cx: &mut Cx) {
        self.services.resize_with(cx.world.services.len(), Known::default);
        for service in 0..self.services.len() {
            self.write(cx, ServiceId::at(service));
        }
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Sync(service) => {
                let batch = cx.plan.flags.controllers.endpoint_batch_period;
                if batch.is_zero() {
                    self.write(cx, service);
                } else {
                    self.write_after(cx, service, batch);
                }
            }
            Event::Write(service) => {
                if self.services[service.index()].due.is_some_and(|due| due <= cx.now) {
                    self.write(cx, service);
                }
            }
        }
    }

    /// A request that waits keeps its time if it is the earlier one.
    fn write_after(&mut self, cx: &mut Cx, service: ServiceId, span: Span) {
        let at = cx.now + span;
        let known = &mut self.services[service.index()];
        if known.due.is_none_or(|due| due > at) {
            known.due = Some(at);
            cx.at(at, components::Event::EndpointSlice(Event::Write(service)));
        }
    }

    fn write(&mut self, cx: &mut Cx, service: ServiceId) {
        self.list_new_pods(cx.world);
        let known = &mut self.services[service.index()];
        known.due = None;
        known.pods.retain(|&pod| cx.world.pod(pod).gone.is_none());
        let spec = &cx.world.services[service.index()];
        if spec.selector.is_none() {
            return;
        }
        let (endpoints, missing) = endpoints(cx.world, spec, &known.pods);
        cx.world.set_endpoints(service, endpoints);
        if !missing {
            known.retries = 0;
        } else if known.retries < RETRIES_MAX {
            let delay = Span::from_secs(1) * (1 << known.retries.min(10));
            known.retries += 1;
            self.write_after(cx, service, delay.min(Span::from_secs(1000)));
        }
    }

    fn list_new_pods(&mut self, world: &World) {
        for pod in &world.pods[self.listed..] {
            let template = world.template_of(pod.id);
            for (service, known) in world.services.iter().zip(&mut self.services) {
                let selected = service.selector.as_ref().is_some_and(|selector| selector.matches(&template.labels));
                if selected && service.namespace == template.namespace {
                    known.pods.push(pod.id);
                }
            }
        }
        self.listed = world.pods.len();
    }
}

/// The endpoints of a Service among the pods it selects, and whether one was left out because its node does not exist.
pub fn endpoints(world: &World, service: &ServiceSpec, pods: &[PodId]) -> (Vec<Endpoint>, bool) {
    let mut missing = false;
    let mut endpoints = Vec::with_capacity(pods.len());
    for &id in pods {
        let pod = world.pod(id);
        let Some(address) = pod.address.filter(|_| is_listed(pod)) else { continue };
        let node = pod.node.map(|node| world.node(node));
        let node_exists = node.is_some_and(|node| node.gone.is_none());
        if pod.node.is_some() && !node_exists && !service.publish_not_ready {
            missing = true;
            continue;
        }
        let serving = pod.is_ready();
        let terminating = pod.deleting_since.is_some();
        endpoints.push(Endpoint {
            pod: id,
            address,
            ready: service.publish_not_ready || (serving && !terminating),
            serving,
            terminating,
            node: pod.node,
            zone: node.filter(|_| node_exists).and_then(|node| node.zone),
        });
    }
    (endpoints, missing)
}

/// Terminating pods stay listed; finished ones do not.
fn is_listed(pod: &Pod) -> bool {
    pod.gone.is_none() && !pod.is_finished()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, PodTemplate, TemplateId};
    use crate::rules::labels::{LabelSelector, Labels};
    use crate::world::{DeleteCause, NewNode, NewPod, Owner};
    use std::sync::Arc;

    fn world() -> (World, PodId) {
        let labels = Labels::from([("app".to_string(), "web".to_string())]);
        let mut plan = Plan::empty(Time::from_unix_seconds(1000), Span::from_secs(60));
        plan.templates.push(Arc::new(PodTemplate { labels: labels.clone(), ..PodTemplate::default() }));
        plan.services.push(Arc::new(ServiceSpec {
            namespace: "default".into(),
            name: "web".into(),
            selector: Some(LabelSelector::from_labels(&labels)),
            ports: Vec::new(),
            publish_not_ready: false,
            prefer_close: false,
            node_ports: Vec::new(),
        }));
        let mut world = World::new(&plan);
        let node = world.create_node(NewNode {
            name: "a".into(),
            labels: Labels::new(),
            taints: Vec::new(),
            allocatable: Default::default(),
            capacity: Default::default(),
            claim: None,
            instance: None,
            zone: None,
        });
        let pod = world.create_pod(NewPod {
            template: TemplateId(0),
            owner: Owner::Bare,
            ordinal: 1,
            pinned: None,
            name: None,
        });
        world.bind_pod(pod, node);
        (world, pod)
    }

    #[test]
    fn a_terminating_pod_serves_without_being_ready_and_needs_an_address_and_a_node() {
        let (mut world, pod) = world();
        let service = world.services[0].clone();
        assert_eq!(endpoints(&world, &service, &[pod]), (vec![], false), "no address yet");
        world.assign_address(pod);
        world.set_pod_ready(pod, true);
        let conditions = |world: &World| {
            let (endpoints, _) = endpoints(world, &service, &[pod]);
            endpoints.first().map(|endpoint| (endpoint.ready, endpoint.serving, endpoint.terminating))
        };
        assert_eq!(conditions(&world), Some((true, true, false)));
        world.delete_pod(pod, None, DeleteCause::User);
        assert_eq!(conditions(&world), Some((false, true, true)));
        world.remove_node(crate::world::NodeId(0));
        assert_eq!(endpoints(&world, &service, &[pod]), (vec![], true), "its node is missing: left out and retried");
    }
}
