//! What operators do by hand: drains, deletions, objects applied during a run.

use crate::support::{load, root, written};
use kubelapse::engine::Span;
use kubelapse::plan::{Action, ActionKind, Fault, FaultKind, NodeChoice, Plan, PodChoice};
use kubelapse::scenario::vary::Setting;
use kubelapse::scenario::{self, LoadOptions};
use kubelapse::study::{run_once, verdicts};
use kubelapse::world::{Change, DeleteCause, PodPhase, World};

#[test]
fn maintenance_keeps_what_it_says() {
    let plan = load(&root().join("scenarios/operator/maintenance.yaml"));
    let verdicts = verdicts(&plan, &run_once(&plan, 0, false), "maintenance");
    assert!(!verdicts.failed && !verdicts.undecided, "{}", verdicts.text);
}

fn deployment(name: &str, replicas: u32, more: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{ name: {name} }}
spec:
  replicas: {replicas}
  selector: {{ matchLabels: {{ app: {name} }} }}
  template:
    metadata: {{ labels: {{ app: {name} }} }}
    spec:
      {more}
      containers: [{{ name: c, image: 'c:1', resources: {{ requests: {{ cpu: 500m, memory: 256Mi }} }} }}]
"
    )
}

const SCENARIO: &str = "manifests: [manifests.yaml]
cluster:
  instance_types: [{ name: lab.large, cpu: 4, memory: 16Gi, price: 0.1 }]
  nodes: [{ name: lab, instance_type: lab.large, count: 2 }]
  simulated_kubelets: { running: 1s, ready: 2s, gone: 4s }
run: { until: 5m }
";

/// Times of changes, seconds after the start.
fn times(plan: &Plan, pick: impl Fn(&World, Change) -> bool) -> (Vec<f64>, World) {
    let outcome = run_once(plan, 0, false);
    let facts = outcome.recorder.facts.iter().filter(|fact| pick(&outcome.world, fact.change));
    let times = facts.map(|fact| fact.at.seconds_from(plan.start)).collect();
    (times, outcome.world)
}

#[test]
fn a_drain_asks_every_five_seconds_while_the_budget_forbids_it() {
    let budget = "---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: { name: web }
spec: { maxUnavailable: 1, selector: { matchLabels: { app: web } } }
";
    let manifests = deployment("web", 6, "") + budget;
    let actions = "actions: [{ at: 1m, drain: lab-01 }]\n";
    let plan = written("operator-drain", &manifests, &format!("{SCENARIO}{actions}"));
    let evicted = |_: &World, change: Change| matches!(change, Change::PodDeleting(_, DeleteCause::Eviction));
    let (times, world) = times(&plan, evicted);
    // A replacement is Ready three seconds after it is bound, so each further request is granted at once.
    assert_eq!(times, [60.0, 65.0, 70.0], "three of six pods are on each node, one may be away");
    let drained = world.nodes.iter().find(|node| &*node.name == "lab-01").unwrap();
    assert!(drained.pods.is_empty() && drained.unschedulable);
    let outcome = run_once(&plan, 0, false);
    let found = kubelapse::analysis::analyze(&plan, &outcome.world, &outcome.recorder);
    let [moved] = &found.replacements[..] else { panic!("{:?}", found.replacements) };
    assert_eq!((moved.why.name(), moved.displaced.len(), moved.replacements.len()), ("kubectl drain", 3, 3));
    let replaced = moved.time_to_replace().expect("all are in service again").seconds();
    assert!(
        (13.0..14.0).contains(&replaced),
        "the last is asked for after ten seconds and Ready three later: {replaced}"
    );
}

#[test]
fn deleted_pods_are_the_oldest_and_come_again() {
    let actions = "actions: [{ at: 1m, delete_pod: { deployment: web, count: 2 } }]\n";
    let plan = written("operator-pods", &deployment("web", 4, ""), &format!("{SCENARIO}{actions}"));
    let outcome = run_once(&plan, 0, false);
    let deleted: Vec<u32> = (outcome.recorder.facts.iter())
        .filter_map(|fact| match fact.change {
            Change::PodDeleting(pod, DeleteCause::User) => Some(pod.0),
            _ => None,
        })
        .collect();
    assert_eq!(deleted, [0, 1]);
    let alive = outcome.world.pods.iter().filter(|pod| pod.gone.is_none() && pod.is_ready()).count();
    assert_eq!((outcome.world.pods.len(), alive), (6, 4));
}

/// A folder with `later.yaml` beside its scenario, handed to `work`.
fn with_later<R>(name: &str, later: &str, actions: &str, work: impl FnOnce(Result<Plan, String>) -> R) -> R {
    let folder = std::env::temp_dir().join(format!("kubelapse-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (file, text) in [
        ("manifests.yaml", deployment("web", 2, "")),
        ("later.yaml", later.to_string()),
        ("scenario.yaml", format!("{SCENARIO}{actions}")),
    ] {
        std::fs::write(folder.join(file), text).unwrap();
    }
    let loaded = scenario::load(&folder.join("scenario.yaml"), &LoadOptions::default());
    let result = work(loaded.map(|loaded| loaded.plan).map_err(|problems| problems.render(false)));
    std::fs::remove_dir_all(&folder).unwrap();
    result
}

#[test]
fn a_deployment_comes_with_its_action_and_its_load_and_goes() {
    let actions = "actions: [{ at: 1m, apply: later.yaml }, { at: 3m, delete: Deployment/api }]\nload: { api: 1 }\n";
    let plan = with_later("operator-later", &deployment("api", 3, ""), actions, Result::unwrap);
    let created = |world: &World, change: Change| {
        let Change::PodCreated(pod) = change else { return false };
        world.deployment_of(pod).is_some_and(|id| id.0 == 1)
    };
    let (times, world) = times(&plan, created);
    assert!(times.len() == 3 && times.iter().all(|at| (60.0..60.5).contains(at)), "{times:?}");
    let api = world.pods.iter().filter(|pod| world.deployment_of(pod.id).is_some_and(|id| id.0 == 1));
    assert!(api.clone().all(|pod| pod.gone.is_some()), "deleted with its Deployment");
    let used: u128 = api.map(|pod| world.cpu_used(pod.id)).sum();
    assert!(used > 0, "the load began when there were pods");
    let outcome = run_once(&plan, 0, false);
    let found = kubelapse::analysis::analyze(&plan, &outcome.world, &outcome.recorder);
    let [step] = &found.steps[..] else { panic!("{:?}", found.steps) };
    assert_eq!((step.from, step.to, step.by_hpa, step.pods.len()), (0, 3, false, 3));
    assert!(step.time_to_serve().is_some_and(|span| (3.0..4.0).contains(&span.seconds())), "{step:?}");
}

#[test]
fn what_cannot_be_applied_or_deleted_is_said() {
    let quota = "apiVersion: v1\nkind: ResourceQuota\nmetadata: { name: q }\nspec: { hard: { pods: '3' } }\n";
    let text = with_later("operator-quota", quota, "actions: [{ at: 1m, apply: later.yaml }]\n", Result::unwrap_err);
    assert!(text.contains("cannot come during a run") && text.contains("later.yaml:1"), "{text}");
    let delete = "actions: [{ at: 1m, delete: Deployment/wep }, { at: 1m, delete: web }]\n";
    let text = with_later("operator-delete", "", delete, Result::unwrap_err);
    assert!(text.contains("did you mean `Deployment/web`?") && text.contains("named as Kind/name"), "{text}");
    let missing = "actions: [{ at: 1m, apply: lost.yaml }]\n";
    let text = with_later("operator-missing", "", missing, Result::unwrap_err);
    assert_eq!(text.matches("error[").count(), 1, "said once: {text}");
}

#[test]
fn a_daemon_comes_once_the_taint_is_gone_that_it_does_not_tolerate() {
    let daemon = "apiVersion: apps/v1
kind: DaemonSet
metadata: { name: agent }
spec:
  selector: { matchLabels: { app: agent } }
  template:
    metadata: { labels: { app: agent } }
    spec: { containers: [{ name: a, image: 'a:1', resources: { requests: { cpu: 100m } } }] }
";
    let scenario = SCENARIO.replace("count: 2 }", "count: 1, taints: [{ key: wait, effect: NoSchedule }] }");
    let actions = "actions: [{ at: 1m, untaint_node: { node: lab, key: wait, effect: NoSchedule } }]\n";
    let plan = written("operator-daemon", daemon, &format!("{scenario}{actions}"));
    let (times, _) = times(&plan, |_, change| matches!(change, Change::PodCreated(_)));
    assert!(times.len() == 1 && (60.0..60.2).contains(&times[0]), "{times:?}");
}

#[test]
fn simulated_kubelets_acknowledge_pods_one_after_the_other() {
    let scenario = SCENARIO.replace("gone: 4s", "gone: 4s, pace: 500ms");
    let actions = "actions: [{ at: 1m, scale: { deployment: web, replicas: 5 } }]\n";
    let plan = written("operator-pace", &deployment("web", 1, ""), &format!("{scenario}{actions}"));
    let running = |_: &World, change: Change| matches!(change, Change::PodPhase(_, PodPhase::Running));
    let (times, _) = times(&plan, running);
    let apart: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(apart.len() == 3 && apart.iter().all(|span| (0.499..0.501).contains(span)), "{times:?}");
}

fn shipped(set: &[(&str, &str)]) -> scenario::Loaded {
    let set = set.iter().map(|(field, value)| Setting { field: field.to_string(), value: value.to_string() });
    let options = LoadOptions { set: set.collect(), ..LoadOptions::default() };
    let loaded = scenario::load(&root().join("scenarios/scale-down.yaml"), &options);
    loaded.unwrap_or_else(|problems| panic!("{}", problems.render(false)))
}

/// A node at the start of another type than its pool asks for is replaced at once: that is said.
#[test]
fn a_node_that_its_pool_would_not_buy_is_warned_of() {
    let loaded = shipped(&[("cluster.nodes[0].instance_type", "c5.xlarge")]);
    let warnings: String = loaded.warnings.iter().map(|one| format!("{} {}\n", one.code, one.message)).collect();
    assert!(warnings.contains("W146 NodePool wordpress-nodepool does not ask for"), "{warnings}");
}

/// A drained node is empty afterwards, and Karpenter removes it: that is not why its pods needed another.
#[test]
fn what_a_drain_moves_is_not_told_as_an_empty_node() {
    let mut plan = load(&root().join("scenarios/scale-up.yaml"));
    plan.actions = vec![Action { at: plan.start + Span::from_secs(180), kind: ActionKind::Drain(NodeChoice::Fullest) }];
    let outcome = run_once(&plan, 0, false);
    let analysis = kubelapse::analysis::analyze(&plan, &outcome.world, &outcome.recorder);
    let reasons: Vec<&str> = analysis.totals.churn_by.keys().copied().collect();
    assert_eq!(reasons, ["kubectl drain"]);
}

/// What finds nothing is remarked, and the headline does not say that it was done.
#[test]
fn an_action_that_finds_nothing_says_so() {
    let mut plan = load(&root().join("scenarios/scale-up.yaml"));
    let at = plan.start + Span::from_secs(60);
    let named = |name: &str| NodeChoice::Named(name.to_string());
    let pods = PodChoice::Oldest(kubelapse::plan::DeploymentId(0), 50);
    plan.actions = vec![
        Action { at, kind: ActionKind::Drain(named("wordpress-nodepool-99")) },
        Action { at, kind: ActionKind::RollBack(kubelapse::plan::DeploymentId(0), None) },
        Action { at, kind: ActionKind::DeletePod(pods) },
    ];
    plan.faults = vec![Fault { at, until: None, kind: FaultKind::NodeFailure(named("wordpress-nodepool-98")) }];
    let outcome = run_once(&plan, 0, false);
    let remarks = kubelapse::analysis::analyze(&plan, &outcome.world, &outcome.recorder).remarks;
    let expected =
        ["there is no node wordpress-nodepool-99 then", "kubectl refuses it", "it has 3 pods then", "found nothing"];
    assert_eq!(remarks.len(), expected.len(), "{remarks:#?}");
    assert!(remarks.iter().zip(expected).all(|(remark, part)| remark.contains(part)), "{remarks:#?}");
    let in_vain: Vec<bool> = outcome.recorder.shortfalls.iter().map(|one| one.in_vain).collect();
    assert_eq!(in_vain, [true, true, false]);
}

/// `kubectl drain` waits for a budget for ever; what it waits for is remarked.
#[test]
fn a_drain_that_a_budget_holds_up_is_remarked() {
    let budget = |least: u32| {
        format!(
            "apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{ name: shop }}
spec: {{ minAvailable: {least}, selector: {{ matchLabels: {{ app: shop }} }} }}
"
        )
    };
    let remarks = |least| {
        let manifests = format!("{}---\n{}", deployment("shop", 2, ""), budget(least));
        let plan = written("operator-held", &manifests, &format!("{SCENARIO}actions: [{{ at: 1m, drain: all }}]\n"));
        let outcome = run_once(&plan, 0, false);
        kubelapse::analysis::analyze(&plan, &outcome.world, &outcome.recorder).remarks
    };
    let held = remarks(2);
    let said = |remark: &String| {
        remark.starts_with("drain of all nodes at 1m: it had not ended, shop-")
            && remark.ends_with(" stayed, since PodDisruptionBudget default/shop allowed no eviction")
    };
    assert!(held.len() == 1 && held.iter().all(said), "{held:#?}");
    assert_eq!(remarks(0), [""; 0], "nothing holds them");
}

/// A size that a user wrote holds until the autoscaler's next sync that wants another.
#[test]
fn an_autoscaler_that_takes_a_size_back_is_remarked() {
    let mut plan = load(&root().join("scenarios/scale-down.yaml"));
    let size = plan.deployments[0].replicas + 2;
    let kind = ActionKind::ScaleDeployment(kubelapse::plan::DeploymentId(0), size);
    plan.actions = vec![Action { at: plan.start + Span::from_secs(60), kind }];
    let outcome = run_once(&plan, 0, false);
    let remarks = kubelapse::analysis::analyze(&plan, &outcome.world, &outcome.recorder).remarks;
    assert!(remarks.len() == 1 && remarks[0].contains("did not last: autoscaler wordpress"), "{remarks:#?}");
}

/// Names that no node and no pod of the scenario could have are warned of before the run.
#[test]
fn names_that_nothing_could_have_are_warned_of() {
    let actions =
        "[{ at: 1m, drain: fulest }, { at: 1m, cordon: wordpress-nodepool-07 }, { at: 1m, delete_pod: nosuch }]";
    let loaded = shipped(&[("actions", actions)]);
    let codes: Vec<&str> =
        loaded.warnings.iter().map(|one| one.code).filter(|code| ["W148", "W149"].contains(code)).collect();
    assert_eq!(codes, ["W148", "W149"]);
    let told = |name: &str| {
        let loaded = shipped(&[("actions", &format!("[{{ at: 1m, delete_pod: {name} }}]"))]);
        loaded.warnings.iter().any(|one| one.code == "W149")
    };
    assert_eq!(
        ["wordpress-1", "wordpress-r1-1"].map(told),
        [true, false],
        "a Deployment's pods have its revision in their name"
    );
}

/// A budget that lets nobody go does not stop EC2: the page says what it did to the pods that it kept.
#[test]
fn pods_that_a_budget_keeps_on_an_interrupted_node_are_remarked() {
    let remarks = |most: &str| {
        let set =
            Setting { field: "PodDisruptionBudget/wordpress.spec.maxUnavailable".to_string(), value: most.to_string() };
        let options = LoadOptions { set: vec![set], ..LoadOptions::default() };
        let loaded = scenario::load(&root().join("scenarios/spot-replacement.yaml"), &options);
        let plan = loaded.unwrap_or_else(|problems| panic!("{}", problems.render(false))).plan;
        let outcome = run_once(&plan, 0, false);
        kubelapse::analysis::analyze(&plan, &outcome.world, &outcome.recorder).remarks
    };
    let kept = remarks("0");
    let told =
        "PodDisruptionBudget wordpress refused the eviction of 3 pods of node wordpress-nodepool-initial-01 from 5m";
    assert!(
        kept.len() == 1 && kept[0].starts_with(told) && kept[0].contains("; they ended with the machine at 7m"),
        "{kept:?}"
    );
    assert_eq!(remarks("1"), Vec::<String>::new(), "refused at first, and let go in time");
}
