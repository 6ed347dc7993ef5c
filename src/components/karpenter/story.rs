//! Whole stories of Karpenter and EC2, with the rest of the cluster played by the test.

use super::fixture::{edit_pool, node, pods, small_plan};
use crate::components::{Components, Cx, Event, wiring::Wiring};
use crate::engine::{Queue, Span, Time};
use crate::plan::{CapacityType, Distribution, Fault, FaultId, FaultKind, Plan, Stage, TemplateId};
use crate::record::{Detail, Recorder};
use crate::rules::taint::{Taint, TaintEffect};
use crate::world::{Change, DisruptionReason, InstanceState, NodeReadiness, World};

struct Story<'p> {
    plan: &'p Plan,
    world: World,
    queue: Queue<Event>,
    recorder: Recorder,
    components: Components,
    wiring: Wiring,
    facts: Vec<(f64, Change)>,
}

impl<'p> Story<'p> {
    fn new(plan: &'p Plan, populate: impl FnOnce(&mut World)) -> Story<'p> {
        let mut story = Story {
            plan,
            world: World::new(plan),
            queue: Queue::new(),
            recorder: Recorder::new(Detail::Explain),
            components: Components::default(),
            wiring: Wiring::new(plan),
            facts: Vec::new(),
        };
        populate(&mut story.world);
        story.world.take_journal(&mut Vec::new());
        story.with(plan.start, |components, cx| components.start(cx));
        story
    }

    fn with(&mut self, now: Time, act: impl FnOnce(&mut Components, &mut Cx)) {
        self.world.now = now;
        let mut cx = Cx {
            now,
            plan: self.plan,
            world: &mut self.world,
            queue: &mut self.queue,
            recorder: &mut self.recorder,
            random: None,
        };
        act(&mut self.components, &mut cx);
        loop {
            let mut journal = Vec::new();
            self.world.take_journal(&mut journal);
            if journal.is_empty() {
                return;
            }
            for change in journal {
                self.facts.push((now.seconds_from(self.plan.start), change));
                self.wiring.wake(change, now, (self.plan, &self.world), None, &mut self.queue);
                self.play(change);
            }
        }
    }

    /// Kubelet, node lifecycle, scheduler and pods, each without delay.
    fn play(&mut self, change: Change) {
        match change {
            Change::NodeCreated(node) => {
                self.world.set_node_readiness(node, NodeReadiness::Ready);
                self.world.remove_taint(node, &Taint::new("node.kubernetes.io/not-ready", TaintEffect::NoSchedule));
            }
            Change::ClaimRegistered(claim) => {
                let node = self.world.claim(claim).node.expect("registered with its node");
                let waiting: Vec<_> =
                    self.world.pods.iter().filter(|pod| pod.node.is_none()).map(|pod| pod.id).collect();
                for pod in waiting {
                    if self.world.template_of(pod).requests.fits_in(&self.world.node(node).free()) {
                        self.world.bind_pod(pod, node);
                    }
                }
            }
            Change::PodDeleting(pod, _) => self.world.remove_pod(pod),
            Change::NodeAlive(node, false) => self.world.set_node_readiness(node, NodeReadiness::Unknown),
            _ => {}
        }
    }

    fn run(&mut self, seconds: u64) {
        let until = self.plan.start + Span::from_secs(seconds);
        let mut count = 0;
        while let Some((now, event)) = self.queue.pop() {
            if now > until {
                self.queue.push(now, event);
                break;
            }
            count += 1;
            assert!(count < 100_000, "a loop at {now:?}: {event:?}");
            self.wiring.delivered(&event);
            self.with(now, |components, cx| components.handle(cx, &event));
            self.world.check().expect("the laws hold");
        }
    }

    fn when(&self, wanted: impl Fn(&Change) -> bool) -> Option<f64> {
        self.facts.iter().find(|(_, change)| wanted(change)).map(|(at, _)| *at)
    }
}

fn timed(plan: &mut Plan) {
    for (stage, millis) in [
        (Stage::ApiHop, 20),
        (Stage::KarpenterSolve, 100),
        (Stage::NodeClaimLaunch, 2_210),
        (Stage::InstanceBoot, 20_900),
        (Stage::InterruptionDelivery, 3_000),
        (Stage::InstanceTermination, 60_000),
        (Stage::FleetError, 2_000),
    ] {
        plan.timings.set(stage, Distribution::Constant(Span::from_millis(millis)));
    }
}

#[test]
fn pods_get_a_node_after_batch_solve_launch_and_boot() {
    let mut plan = small_plan();
    timed(&mut plan);
    let mut story = Story::new(&plan, |world| {
        pods(world, TemplateId(0), 3);
    });
    story.run(60);
    let at = |wanted: fn(&Change) -> bool| story.when(wanted).expect("it happens");
    assert_eq!(at(|change| matches!(change, Change::BatchClosed(3))), 1.0);
    assert_eq!(at(|change| matches!(change, Change::ClaimCreated(_))), 1.1);
    assert_eq!(at(|change| matches!(change, Change::ClaimLaunched(_))), 3.31);
    assert_eq!(at(|change| matches!(change, Change::NodeCreated(_))), 24.21);
    assert_eq!(at(|change| matches!(change, Change::ClaimRegistered(_))), 24.23);
    assert_eq!(at(|change| matches!(change, Change::ClaimInitialized(_))), 25.23);
    assert_eq!(story.world.claims.len(), 1, "three pods of 500 m fit on one t3.medium");
    assert!(story.world.pods.iter().all(|pod| pod.node.is_some()));
}

#[test]
fn a_second_wave_during_the_launch_loses_its_batch() {
    let mut plan = small_plan();
    timed(&mut plan);
    let mut story = Story::new(&plan, |world| {
        pods(world, TemplateId(0), 3);
    });
    story.run(1);
    let soon = plan.start + Span::from_millis(1_200);
    story.with(soon, |_, cx| {
        pods(cx.world, TemplateId(0), 3);
    });
    story.run(60);
    let created: Vec<f64> =
        story.facts.iter().filter(|(_, change)| matches!(change, Change::ClaimCreated(_))).map(|(at, _)| *at).collect();
    // Their batch closes at 2.22 s, before the launch at 3.31 s; the first wave triggers again at 10 s.
    assert_eq!(created, [1.1, 11.1]);
}

#[test]
fn sold_out_spot_falls_back_to_on_demand_on_the_next_pass() {
    let mut plan = small_plan();
    timed(&mut plan);
    edit_pool(&mut plan, |pool| pool.requirements.clear());
    let spot = Some(CapacityType::Spot);
    let kind = FaultKind::InsufficientCapacity { instance_type: None, zone: None, capacity_type: spot };
    plan.faults.push(Fault { at: plan.start, until: None, kind });
    let mut story = Story::new(&plan, |world| {
        world.set_fault(FaultId(0), true);
        pods(world, TemplateId(0), 1);
    });
    story.run(60);
    let gone = story.when(|change| matches!(change, Change::ClaimDeleting(_, DisruptionReason::InsufficientCapacity)));
    assert_eq!(gone, Some(3.1));
    let instance = story.world.instances.first().expect("launched on the second pass");
    assert_eq!(instance.capacity_type, CapacityType::OnDemand);
    assert_eq!(story.when(|change| matches!(change, Change::ClaimLaunched(_))), Some(13.31));
}

#[test]
fn an_empty_node_is_validated_drained_and_terminated() {
    let mut plan = small_plan();
    timed(&mut plan);
    let mut story = Story::new(&plan, |world| {
        node(&plan, world, "t3.medium", CapacityType::OnDemand, 0);
    });
    story.run(200);
    let at = |wanted: fn(&Change) -> bool| story.when(wanted).expect("it happens");
    // Half a period, then the wait before validation; the drain takes at least five seconds.
    assert_eq!(at(|change| matches!(change, Change::ClaimDisrupted(..))), 20.0);
    assert_eq!(at(|change| matches!(change, Change::ClaimDeleting(..))), 20.0);
    let stopped = at(|change| matches!(change, Change::InstanceShuttingDown(_)));
    assert!((25.0..=26.1).contains(&stopped), "{stopped}");
    let gone = at(|change| matches!(change, Change::ClaimGone(_)));
    assert!((85.0..=91.0).contains(&gone), "{gone}");
}

#[test]
fn consolidation_buys_the_cheaper_node_before_it_drains_the_dear_one() {
    let mut plan = small_plan();
    timed(&mut plan);
    let mut story = Story::new(&plan, |world| {
        node(&plan, world, "t3.xlarge", CapacityType::OnDemand, 3);
    });
    story.run(250);
    let at = |wanted: fn(&Change) -> bool| story.when(wanted).expect("it happens");
    let created = at(|change| matches!(change, Change::ClaimCreated(_)));
    let initialized = at(|change| matches!(change, Change::ClaimInitialized(_)));
    let deleting = at(|change| matches!(change, Change::ClaimDeleting(_, DisruptionReason::Underutilized)));
    assert!(created >= 20.0 && initialized > created && deleting >= initialized, "{created} {initialized} {deleting}");
    assert!(story.world.claims[0].gone.is_some());
    let kept = story.world.claims[1].instance.expect("launched");
    assert_eq!(plan.instance_type(story.world.instances[kept.index()].instance_type).name, "t3.medium");
}

#[test]
fn a_spot_notice_drains_at_once_and_the_instance_dies_after_two_minutes_at_the_latest() {
    let mut plan = small_plan();
    timed(&mut plan);
    edit_pool(&mut plan, |pool| pool.consolidate_after = None);
    let mut story = Story::new(&plan, |world| {
        node(&plan, world, "t3.medium", CapacityType::Spot, 1);
    });
    let first = story.world.claims[0].instance.expect("launched");
    story.with(plan.start, |_, cx| cx.world.interrupt_instance(first));
    story.run(300);
    let deleting = story.when(|change| matches!(change, Change::ClaimDeleting(_, DisruptionReason::Interrupted)));
    assert_eq!(deleting, Some(3.0));
    let evicted = story.when(|change| matches!(change, Change::PodDeleting(..))).expect("evicted");
    assert!((3.0..4.0).contains(&evicted), "{evicted}");
    assert_eq!(story.world.instances[first.index()].state, InstanceState::Terminated);
    assert!(story.world.claims[0].gone.is_some());
}

#[test]
fn expiry_knows_no_budget() {
    let mut plan = small_plan();
    timed(&mut plan);
    edit_pool(&mut plan, |pool| {
        pool.expire_after = Some(Span::from_secs(600));
        pool.consolidate_after = None;
        pool.budgets = vec![super::disruption::budgets::always("0")];
    });
    let mut story = Story::new(&plan, |world| {
        node(&plan, world, "t3.medium", CapacityType::OnDemand, 1);
    });
    story.run(1_000);
    let expired = story.when(|change| matches!(change, Change::ClaimDeleting(_, DisruptionReason::Expired)));
    assert_eq!(expired, Some(600.0));
    assert!(story.world.claims[0].gone.is_some());
}

#[test]
fn nodes_that_expire_together_go_one_a_second() {
    let mut plan = small_plan();
    timed(&mut plan);
    edit_pool(&mut plan, |pool| {
        pool.expire_after = Some(Span::from_secs(600));
        pool.consolidate_after = None;
    });
    let mut story = Story::new(&plan, |world| {
        for pods in 1..4 {
            node(&plan, world, "t3.medium", CapacityType::OnDemand, pods);
        }
    });
    story.run(650);
    let at = |claim: usize| {
        let is = |change: &Change| matches!(change, Change::ClaimDeleting(id, DisruptionReason::Expired) if id.index() == claim);
        story.when(|change| is(change))
    };
    assert_eq!([at(0), at(1), at(2)], [Some(600.0), Some(601.0), Some(602.0)]);
}

/// Oracle 25: a node that never registers is given up after 900 s and bought again.
#[test]
fn a_node_that_never_joins_is_replaced_after_a_quarter_of_an_hour() {
    let mut plan = small_plan();
    timed(&mut plan);
    plan.timings.set(Stage::InstanceBoot, Distribution::Never);
    let mut story = Story::new(&plan, |world| {
        pods(world, TemplateId(0), 1);
    });
    story.run(1_000);
    let given_up = story.when(|change| matches!(change, Change::ClaimDeleting(_, DisruptionReason::NeverJoined)));
    assert_eq!(given_up, Some(901.0), "the claim is of the first whole second");
    assert_eq!(story.world.claims.len(), 2);
}

#[test]
fn a_grace_period_of_the_node_ends_what_do_not_disrupt_holds_up() {
    let mut plan = small_plan();
    timed(&mut plan);
    let mut held = super::fixture::template(500, 64);
    held.annotations.insert("karpenter.sh/do-not-disrupt", "true");
    plan.templates[0] = std::sync::Arc::new(held);
    edit_pool(&mut plan, |pool| pool.termination_grace_period = Some(Span::from_secs(120)));
    let mut story = Story::new(&plan, |world| {
        node(&plan, world, "t3.medium", CapacityType::OnDemand, 1);
    });
    story.with(plan.start, |_, cx| cx.world.delete_claim(crate::world::ClaimId(0), DisruptionReason::User));
    story.run(300);
    // The pod asks for 30 s itself, so it goes when less than that is left of 120 s.
    let forced = story.when(|change| matches!(change, Change::PodDeleting(..))).expect("forced");
    assert!((90.0..=92.0).contains(&forced), "{forced}");
}
