//! StatefulSets: what a user's scenario does with them, and laws of their controller over generated runs.

use crate::support::written;
use kubelapse::analysis::explain::{self, Question, Said};
use kubelapse::engine::Span;
use kubelapse::plan::{Action, ActionKind, DeploymentId, Ordinal, Plan, Strategy as Kept, find_metric};
use kubelapse::study::{run_explained, run_once};
use kubelapse::world::{Change, DeleteCause, PodId, World};
use proptest::prelude::*;
use std::sync::{Arc, OnceLock};

const MANIFESTS: &str = "apiVersion: apps/v1
kind: StatefulSet
metadata: { name: db }
spec:
  replicas: 3
  serviceName: db
  selector: { matchLabels: { app: db } }
  template:
    metadata: { labels: { app: db } }
    spec:
      containers: [{ name: db, image: 'db:1', resources: { requests: { cpu: 500m, memory: 256Mi } } }]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: { name: db }
spec:
  scaleTargetRef: { apiVersion: apps/v1, kind: StatefulSet, name: db }
  minReplicas: 3
  maxReplicas: 6
  metrics: [{ type: Resource, resource: { name: cpu, target: { type: Utilization, averageUtilization: 70 } } }]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: { name: db }
spec: { maxUnavailable: 1, selector: { matchLabels: { app: db } } }
";
const SCENARIO: &str = "name: db
manifests: [manifests.yaml]
run: { until: 15m }
cluster: { nodes: [{ instance_type: m5.large, count: 6 }] }
load: { db: [{ at: 0s, cores: 0.8 }, { at: 5m, cores: 2 }] }
actions:
- { at: 2m, rollout: { statefulset: db, image: 'db:2' } }
- { at: 12m, delete_pod: db-1 }
";

/// Names of pods in the order in which they were made, after the start.
fn made(world: &World, facts: &[kubelapse::record::Fact], plan: &Plan) -> Vec<String> {
    let created = facts.iter().filter(|fact| fact.at > plan.start).filter_map(|fact| match fact.change {
        Change::PodCreated(pod) => Some(world.pod_name(pod)),
        _ => None,
    });
    created.collect()
}

#[test]
fn a_rollout_goes_from_the_last_to_the_first_and_growth_from_the_first_to_the_last() {
    let plan = written("stateful", MANIFESTS, SCENARIO);
    let outcome = run_once(&plan, 0, false);
    let world = &outcome.world;
    let names = made(world, &outcome.recorder.facts, &plan);
    assert_eq!(names, ["db-2", "db-1", "db-0", "db-3", "db-4", "db-5", "db-1"]);
    let entry = &world.deployments[0];
    assert_eq!((entry.replicas, entry.status.ready, entry.status.updated), (6, 6, 6), "the autoscaler found it");
    assert_eq!(world.pdbs[0].expected_pods, 6, "its budget counts its size");
    assert_eq!(world.owner_name(PodId(0)).as_deref(), Some("statefulset/db"));
    let asked = |name: &str| world.cluster_metric(&plan, find_metric(name).expect("it is exported"), &[]);
    assert_eq!(asked("kube_statefulset_status_replicas_ready"), Some(6.0));
    assert_eq!(asked("kube_deployment_spec_replicas"), None, "a StatefulSet is no Deployment");
    let sets = &entry.replica_sets;
    assert_eq!(entry.current_revision, sets.last().copied(), "the rollout is complete");
    assert!(sets.iter().all(|set| world.replica_sets[set.index()].replicas == 0), "no ReplicaSet makes its pods");
}

/// Each life of a pod has its own story: that of the first ends with the rollout, the third begins after the deletion.
#[test]
fn a_pod_that_comes_back_under_its_name_has_a_story_for_each_life() {
    let plan = written("stateful-lives", MANIFESTS, SCENARIO);
    let outcome = run_explained(&plan, 0);
    let lives = explain::pods_named(&outcome.world, "db-1");
    assert_eq!(lives.len(), 3, "from the start, of the rollout, after the deletion");
    let at = |minutes: u64| explain::life_at(&outcome.world, &lives, plan.start + Span::from_secs(60 * minutes));
    assert_eq!([at(0), at(8), at(14)], [0, 1, 2].map(|life| Some(lives[life])));
    let story = |life: usize| {
        let question = Question { pod: Some(lives[life]), ..Question::default() };
        explain::answer(&plan, &outcome.world, &outcome.recorder, &question)
    };
    let begins = |life: usize| story(life).iter().any(|(_, said)| *said == Said::Fact(Change::PodCreated(lives[life])));
    assert!(begins(1) && begins(2));
    let since = outcome.world.pod(lives[2]).created;
    assert!(story(1).iter().all(|(at, _)| *at <= since) && story(2).iter().all(|(at, _)| *at >= since));
}

fn base() -> &'static Plan {
    static BASE: OnceLock<Plan> = OnceLock::new();
    BASE.get_or_init(|| {
        let calm = SCENARIO.split("actions:").next().expect("the part before the actions").replace("15m", "20m");
        let mut plan = written("stateful-base", MANIFESTS, &calm);
        plan.hpas.clear();
        plan.pdbs.clear();
        let mut template = (**plan.template(plan.deployments[0].template)).clone();
        template.annotations.insert("revision", "2");
        plan.templates.push(Arc::new(template));
        plan
    })
}

#[derive(Clone, Debug)]
struct Story {
    seed: u64,
    ordinal: Ordinal,
    min_ready: u64,
    sizes: Vec<(u64, i32)>,
    update: Option<u64>,
    lost: Vec<u64>,
}

impl Story {
    fn calm(ordinal: Ordinal) -> Story {
        Story { seed: 1, ordinal, min_ready: 0, sizes: vec![], update: None, lost: vec![] }
    }
}

fn stories() -> impl Strategy<Value = Story> {
    let ordinal = (any::<bool>(), prop::bool::weighted(0.2), 0u32..4, 0u32..3)
        .prop_map(|(parallel, on_delete, partition, start)| Ordinal { parallel, on_delete, partition, start });
    let sizes = prop::collection::vec((20u64..500, 0i32..7), 0..3);
    let rest = (prop::option::weighted(0.7, 20u64..500), prop::collection::vec(20u64..500, 0..3));
    (any::<u64>(), ordinal, prop_oneof![Just(0u64), 1u64..20], sizes, rest).prop_map(
        |(seed, ordinal, min_ready, sizes, (update, lost))| Story { seed, ordinal, min_ready, sizes, update, lost },
    )
}

fn plan_of(story: &Story) -> Plan {
    let mut plan = Plan { noise: true, seed: story.seed, ..base().clone() };
    let set = DeploymentId(0);
    let spec = Arc::make_mut(&mut plan.deployments[0]);
    (spec.strategy, spec.min_ready) = (Kept::Ordinal(story.ordinal), Span::from_secs(story.min_ready));
    let at = |seconds: u64| base().start + Span::from_secs(seconds);
    let scaled = story.sizes.iter().map(|&(when, size)| (at(when), ActionKind::ScaleDeployment(set, size)));
    let template = kubelapse::plan::TemplateId::at(plan.templates.len() - 1);
    let updated = story.update.iter().map(|&when| (at(when), ActionKind::RollOut(set, template)));
    let oldest = kubelapse::plan::PodChoice::Oldest(set, 1);
    let lost = story.lost.iter().map(|&when| (at(when), ActionKind::DeletePod(oldest.clone())));
    plan.actions = scaled.chain(updated).chain(lost).map(|(at, kind)| Action { at, kind }).collect();
    plan.actions.sort_by_key(|action| action.at);
    plan
}

/// `updatePod` looks at a set minReadySeconds and a second after a pod became Ready, and a look that is due earlier takes its
/// place (`AddAfter`); a sync asks for another only where the number of available pods is not the wanted one
/// (`syncStatefulSet`). A new pod that is not available yet beside one that is to go makes the numbers equal.
#[test]
fn a_pod_too_many_stays_where_the_available_ones_are_as_many_as_wanted() {
    let ordinal = Ordinal { parallel: false, on_delete: false, partition: 0, start: 0 };
    let story = |min_ready, when| Story { min_ready, sizes: vec![(when, 2)], lost: vec![160], ..Story::calm(ordinal) };
    let pods = |story: Story| run_once(&plan_of(&story), 0, false).world.deployments[0].status.replicas;
    assert_eq!(pods(story(30, 175)), 3, "the look of the first status comes too early and is the last");
    assert_eq!(pods(story(30, 240)), 2, "once all are available the last one leaves");
    assert_eq!(pods(story(0, 175)), 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// At most one pod of a name exists; where they wait for each other none is made while one before it is missing, and the last
    /// leaves first; the set ends at its size, with the revisions that its policies say.
    #[test]
    fn every_story_keeps_names_unique_and_order_and_ends_at_its_size(story in stories()) {
        let plan = plan_of(&story);
        let outcome = run_once(&plan, 0, false);
        let world = &outcome.world;
        let number = |pod: PodId| world.pod_ordinal(pod).expect("its pods are numbered");
        let made = |id: PodId| outcome.recorder.facts.iter().any(|fact| fact.change == Change::PodCreated(id));
        let mut there: Vec<PodId> = world.pods.iter().map(|pod| pod.id).filter(|&id| !made(id)).collect();
        for fact in &outcome.recorder.facts {
            match fact.change {
                Change::PodCreated(pod) => {
                    prop_assert!(there.iter().all(|&other| number(other) != number(pod)), "two of one name");
                    if fact.at > plan.start && !story.ordinal.parallel {
                        let before = story.ordinal.start..number(pod);
                        let known = |ordinal: u32| there.iter().any(|&other| number(other) == ordinal);
                        prop_assert!(before.clone().all(known), "{} before one below it", number(pod));
                    }
                    there.push(pod);
                }
                Change::PodDeleting(pod, DeleteCause::ScaleDown) => {
                    let above = there.iter().filter(|&&other| number(other) > number(pod)).count();
                    prop_assert!(story.ordinal.parallel || above == 0, "the last leaves first");
                }
                Change::PodGone(pod) => there.retain(|&other| other != pod),
                _ => {}
            }
        }
        let entry = &world.deployments[0];
        let mut ordinals: Vec<u32> = there.iter().map(|&pod| number(pod)).collect();
        ordinals.sort_unstable();
        let start = story.ordinal.start;
        let wanted: Vec<u32> = (start..start + entry.replicas as u32).collect();
        // With minReadySeconds a set may be looked at for the last time too early, as the test above shows.
        let looks_in_time = story.min_ready == 0;
        prop_assert!(ordinals == wanted || !looks_in_time, "{:?} instead of {:?}", ordinals, wanted);
        if looks_in_time && !story.ordinal.on_delete && story.update.is_some() {
            for &pod in &there {
                let updates = number(pod) >= start + story.ordinal.partition;
                let new = world.pod(pod).template == entry.spec.template;
                prop_assert!(!updates || new, "{} has the old template", number(pod));
            }
        }
    }
}
