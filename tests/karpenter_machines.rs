//! What happens to Karpenter's machines between launch and end, in small scenarios: recommendations, volumes, repair, limits
//! of the EC2 API, pods a node, CPU credits, prices. Facts from the provider's and Karpenter's sources and from AWS's guides.

use crate::support::written;
use kubelapse::components::Outcome;
use kubelapse::engine::{Span, Time};
use kubelapse::plan::{Plan, Stage};
use kubelapse::study::run_once;
use kubelapse::world::Change;

/// A pool of any m5.large, its class, and a Deployment `web` of pods of which three fit on a node.
const POOL: &str = r"
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: { name: pool }
spec:
  disruption: { consolidationPolicy: WhenEmpty, consolidateAfter: Never }
  template:
    spec:
      nodeClassRef: { group: karpenter.k8s.aws, kind: EC2NodeClass, name: default }
      requirements: [{ key: node.kubernetes.io/instance-type, operator: In, values: [m5.large] }]
---
apiVersion: karpenter.k8s.aws/v1
kind: EC2NodeClass
metadata: { name: default }
spec:
  amiSelectorTerms: [{ alias: al2023@latest }]
  role: node
  subnetSelectorTerms: [{ tags: { a: b } }]
  securityGroupSelectorTerms: [{ tags: { a: b } }]
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      terminationGracePeriodSeconds: 30
      containers: [{ name: web, image: web, resources: { requests: { cpu: 500m, memory: 64Mi } } }]
";

/// The scenario of a test: two pods on one spot node, and what happens.
fn scenario(name: &str, what: &str) -> String {
    format!(
        "name: {name}\n\
         manifests: [manifests.yaml]\n\
         cluster: {{ zones: [us-east-1a, us-east-1b], nodes: [{{ node_pool: pool, name: first, instance_type: m5.large, \
         capacity_type: spot }}] }}\n\
         images: {{ web: {{ size: 1Mi, cached: true }} }}\n\
         {what}\n"
    )
}

fn planned(name: &str, what: &str) -> Plan {
    written(name, POOL, &scenario(name, what))
}

/// Times of the facts that are wanted.
fn times(outcome: &Outcome, wanted: impl Fn(Change) -> bool) -> Vec<Time> {
    outcome.recorder.facts.iter().filter(|fact| wanted(fact.change)).map(|fact| fact.at).collect()
}

/// Provider `pkg/controllers/interruption/controller.go`: a rebalance recommendation is an event, neither a cordon nor a delete.
#[test]
fn a_rebalance_recommendation_is_an_event_and_nothing_else() {
    let what = "faults: [{ at: 1m, rebalance_recommendation: { zone: us-east-1a } }]\nrun: { until: 5m }";
    let plan = planned("rebalance", what);
    let outcome = run_once(&plan, 0, false);
    let asked = times(&outcome, |change| matches!(change, Change::InstanceRebalance(_)));
    let told = times(&outcome, |change| matches!(change, Change::ClaimRebalance(_)));
    assert_eq!((asked.len(), told.len()), (1, 1));
    let delivery = plan.timings.median(Stage::InterruptionDelivery);
    assert_eq!(told[0].since(asked[0]), delivery, "through EventBridge and the queue");
    let touched =
        |change| matches!(change, Change::ClaimDeleting(..) | Change::NodeTaints(_) | Change::PodDeleting(..));
    assert_eq!(times(&outcome, touched), [], "nothing is done");
    let mut deaf = plan;
    deaf.flags.karpenter.interruption_queue = false;
    let deaf = run_once(&deaf, 0, false);
    assert_eq!(
        times(&deaf, |change| matches!(change, Change::ClaimRebalance(_))),
        [],
        "without a queue it hears nothing"
    );
}

/// A Deployment of one pod that mounts the claim `data`, beside what is in [`POOL`].
const DATA: &str = r"
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: { name: ebs }
provisioner: ebs.csi.aws.com
volumeBindingMode: MODE
allowedTopologies: TOPOLOGIES
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: { name: data }
spec: { storageClassName: ebs, accessModes: [ReadWriteOnce], resources: { requests: { storage: 8Gi } } }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: data }
spec:
  replicas: COUNT
  strategy: { type: Recreate }
  selector: { matchLabels: { app: data } }
  template:
    metadata: { labels: { app: data } }
    spec:
      terminationGracePeriodSeconds: 30
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            - { topologyKey: kubernetes.io/hostname, labelSelector: { matchLabels: { app: data } } }
      volumes: [{ name: data, persistentVolumeClaim: { claimName: data } }]
      containers: [{ name: data, image: web, resources: { requests: { cpu: 500m, memory: 64Mi } } }]
";

fn with_data(name: &str, (mode, topologies, count): (&str, &str, u32), what: &str) -> Plan {
    let data = DATA.replace("MODE", mode).replace("TOPOLOGIES", topologies).replace("COUNT", &count.to_string());
    written(name, &format!("{POOL}{data}"), &scenario(name, what))
}

/// Times of detachments, of the end of instances, and of attachments, after the start.
fn of_volumes(outcome: &Outcome) -> [Vec<Time>; 3] {
    [
        times(outcome, |change| matches!(change, Change::VolumeDetached(_))),
        times(outcome, |change| matches!(change, Change::InstanceShuttingDown(_))),
        times(outcome, |change| matches!(change, Change::VolumeAttached(_))),
    ]
}

/// karpenter#1294 (1.0): the instance of a drained node is kept until the volumes of its pods are detached; the poll is every
/// second. What was attached comes to the new node only then.
#[test]
fn a_drained_node_is_kept_until_its_volumes_are_detached() {
    let what = "actions: [{ at: 1m, delete_node_claim: first }]\nrun: { until: 12m }";
    let plan = with_data("volumes", ("WaitForFirstConsumer", "[]", 1), what);
    let outcome = run_once(&plan, 0, false);
    let [detached, ended, attached] = of_volumes(&outcome);
    assert_eq!((detached.len(), ended.len(), attached.len()), (1, 1, 1));
    let waited = ended[0].since(detached[0]);
    assert!(waited <= Span::from_secs(1), "a poll later: {waited}");
    assert!(attached[0] >= detached[0] + plan.timings.median(Stage::VolumeAttach));
    // The volume lies in the zone of the first node: that is where the new one is bought.
    let zones: Vec<_> = outcome.world.nodes.iter().map(|node| node.zone).collect();
    assert_eq!(zones, [zones[0]; 2]);
    let last = outcome.world.pods.last().expect("a pod on the new node");
    assert!(last.is_active() && last.node == Some(outcome.world.nodes[1].id));
}

/// The wait ends with the termination grace period of the node. Before 1.0 there was none: the machine ends before its kubelet
/// says that the volume is unmounted, and the pod waits for the force detach after six minutes.
#[test]
fn the_wait_for_volumes_is_bounded_and_older_releases_do_not_wait() {
    let what = "actions: [{ at: 1m, delete_node_claim: first }]\nrun: { until: 12m }\ntimings: { volume.detach: 1h }";
    let mut plan = with_data("volumes-grace", ("WaitForFirstConsumer", "[]", 1), what);
    let mut pool = (*plan.node_pools[0]).clone();
    pool.termination_grace_period = Some(Span::from_secs(100));
    plan.node_pools[0] = std::sync::Arc::new(pool);
    let ended = &of_volumes(&run_once(&plan, 0, false))[1];
    let deadline = plan.start + Span::from_secs(160);
    assert!(ended[0] >= deadline && ended[0].since(deadline) <= Span::from_secs(1), "{:?}", ended[0].since(plan.start));

    let what = "actions: [{ at: 1m, delete_node_claim: first }]\nrun: { until: 12m }";
    let mut plan = with_data("volumes-old", ("WaitForFirstConsumer", "[]", 1), what);
    plan.flags.karpenter.version = (0, 37);
    let outcome = run_once(&plan, 0, false);
    let [detached, ended, attached] = of_volumes(&outcome);
    let gone = times(&outcome, |change| matches!(change, Change::PodGone(_)));
    assert!(ended[0] < detached[0], "nobody waits");
    let wait = detached[0].since(*gone.last().expect("a pod went"));
    assert!(wait >= Span::from_secs(360) && wait < Span::from_secs(380), "{wait}");
    assert!(attached[0] > detached[0]);
}

/// Karpenter buys where the volume is, or where its class lets it be made.
#[test]
fn a_node_is_bought_in_the_zone_of_the_volume() {
    let allowed = "[{ matchLabelExpressions: [{ key: topology.ebs.csi.aws.com/zone, values: [us-east-1b] }] }]";
    for mode in ["Immediate", "WaitForFirstConsumer"] {
        let mut plan = with_data(&format!("zone-{mode}"), (mode, allowed, 1), "run: { until: 5m }");
        plan.nodes.clear();
        let world = run_once(&plan, 0, false).world;
        let pod = world.pods.iter().find(|pod| !world.template_of(pod.id).volume_claims.is_empty()).expect("it exists");
        let node = world.node(pod.node.expect("it has a node"));
        assert_eq!(node.labels["topology.kubernetes.io/zone"], "us-east-1b", "{mode}");
    }
}

/// A volume of access mode ReadWriteOnce is on one node at a time: of two pods on two nodes one starts.
#[test]
fn a_volume_is_attached_to_one_node_at_a_time() {
    let mut plan = with_data("multi-attach", ("Immediate", "[]", 2), "run: { until: 5m }");
    plan.nodes.clear();
    let world = run_once(&plan, 0, false).world;
    let mounting = world.pods.iter().filter(|pod| !world.template_of(pod.id).volume_claims.is_empty());
    let states: Vec<(bool, bool)> = mounting.map(|pod| (pod.node.is_some(), pod.address.is_some())).collect();
    assert!(states.iter().all(|(bound, _)| *bound));
    assert_eq!(states.iter().filter(|(_, started)| *started).count(), 1, "{states:?}");
}

/// What manifests lack is assumed, and said.
#[test]
fn a_claim_that_no_manifest_describes_is_passed_over_with_a_note() {
    let data = DATA.replace("name: data }\nspec: { storageClassName", "name: other }\nspec: { storageClassName");
    let data = data.replace("MODE", "Immediate").replace("TOPOLOGIES", "[]").replace("COUNT", "1");
    let plan = written("missing-claim", &format!("{POOL}{data}"), &scenario("missing-claim", "run: { until: 1m }"));
    assert!(plan.remarks.iter().any(|remark| remark.contains("PersistentVolumeClaim data is not among")));
    assert!(plan.templates.iter().all(|template| template.volume_claims.is_empty()));
}

/// A pool with so many nodes, of which some become unhealthy after a minute; when each of them was told to go.
fn repaired(name: &str, nodes: usize, sick: usize, condition: &str, gate: bool) -> (Outcome, Vec<Span>) {
    let list: Vec<String> = (0..nodes)
        .map(|index| format!("{{ node_pool: pool, name: n{index}, instance_type: m5.large, zone: us-east-1a }}"))
        .collect();
    let faults: Vec<String> = (0..sick)
        .map(|index| format!("{{ at: 1m, node_unhealthy: {{ node: n{index}, condition: {condition} }} }}"))
        .collect();
    let scenario = format!(
        "name: {name}\nmanifests: [manifests.yaml]\ncluster: {{ zones: [us-east-1a], nodes: [{}] }}\n\
         controllers: {{ karpenter.node_repair: {gate} }}\nfaults: [{}]\nimages: {{ web: {{ cached: true }} }}\n\
         run: {{ until: 50m }}\n",
        list.join(", "),
        faults.join(", ")
    );
    let plan = written(name, POOL, &scenario);
    let outcome = run_once(&plan, 0, false);
    let repair = |change| matches!(change, Change::ClaimDeleting(_, kubelapse::world::DisruptionReason::Unhealthy));
    let told = times(&outcome, repair).into_iter().map(|at| at.since(plan.start)).collect();
    (outcome, told)
}

/// Provider `RepairPolicies`: 30 min, accelerators 10 min; core `node/health/suite_test.go`: 3 of 10 unhealthy nodes block the
/// repair, 1 of 3 (a fifth, rounded up) does not; without the gate nothing is done.
#[test]
fn unhealthy_nodes_are_repaired_when_they_were_tolerated_long_enough_and_few_enough() {
    let within = |told: &[Span], minutes: u64| {
        let due = Span::from_secs(minutes * 60);
        // Times of conditions are whole seconds, and the controller hears of it a moment later.
        told.iter().all(|&at| at + Span::from_secs(1) >= due && at <= due + Span::from_secs(1))
    };
    let (_, told) = repaired("repair-kernel", 3, 1, "KernelReady", true);
    assert!(told.len() == 1 && within(&told, 31), "{told:?}");
    let (_, told) = repaired("repair-gpu", 3, 1, "AcceleratedHardwareReady", true);
    assert!(told.len() == 1 && within(&told, 11), "{told:?}");
    let (_, told) = repaired("repair-ready", 3, 1, "Ready", true);
    assert!(told.len() == 1 && within(&told, 31), "{told:?}");
    assert_eq!(repaired("repair-many", 10, 3, "NetworkingReady", true).1, []);
    assert_eq!(repaired("repair-two", 10, 2, "NetworkingReady", true).1.len(), 2, "a fifth of ten");
    assert_eq!(repaired("repair-off", 3, 1, "KernelReady", false).1, []);
}

/// A repair is forceful: pods are deleted at once, whatever budget protects them, and the node goes (core
/// `node/health/controller.go`, `annotateTerminationGracePeriod`).
#[test]
fn a_repair_heeds_no_budget() {
    let budget = "---\napiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: { name: web }\nspec: { maxUnavailable: 0, \
                  selector: { matchLabels: { app: web } } }\n";
    let what = "controllers: { karpenter.node_repair: true }\nrun: { until: 40m }\n\
                faults: [{ at: 1m, node_unhealthy: { node: first, condition: StorageReady } }]";
    let plan = written("repair-budget", &format!("{POOL}{budget}"), &scenario("repair-budget", what));
    let outcome = run_once(&plan, 0, false);
    let forced = |change| matches!(change, Change::PodDeleting(_, kubelapse::world::DeleteCause::Forced));
    let [deleting, forced] =
        [times(&outcome, |change| matches!(change, Change::ClaimDeleting(..))), times(&outcome, forced)];
    assert_eq!((deleting.len(), forced.len()), (1, 2));
    assert!(forced[0].since(deleting[0]) < Span::from_secs(1));
    assert!(outcome.world.nodes[0].gone.is_some());
}
