//! What happens to Karpenter's machines between launch and end, in small scenarios: recommendations, volumes, repair, limits
//! of the EC2 API, pods a node, CPU credits, prices. Facts from the provider's and Karpenter's sources and from AWS's guides.

use crate::support::written;
use kubelapse::components::Outcome;
use kubelapse::engine::{Span, Time};
use kubelapse::plan::{CapacityType, Plan, Stage};
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
        assert_eq!(node.labels.get("topology.kubernetes.io/zone"), Some("us-east-1b"), "{mode}");
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

/// Deployments `t0`, `t1`, ... of one pod each, on nodes of their own; `alike`: any node will do.
fn tenants(count: usize, alike: bool) -> String {
    let tenant = |index: usize| {
        let team = if alike { 0 } else { index };
        format!(
            "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: t{index} }}\nspec:\n  replicas: 1\n  selector: {{ \
             matchLabels: {{ app: t{index} }} }}\n  template:\n    metadata: {{ labels: {{ app: t{index} }} }}\n    spec:\n      \
             nodeSelector: {{ team: t{team} }}\n      containers: [{{ name: app, image: web, resources: {{ requests: {{ cpu: 1500m \
             }} }} }}]\n"
        )
    };
    let pool = POOL
        .split("apiVersion: apps/v1")
        .next()
        .expect("pool and class")
        .replace("requirements: [{", "requirements: [{ key: team, operator: Exists }, {");
    let rest: String = (0..count).map(tenant).collect();
    format!("{}{rest}", pool.trim_end().trim_end_matches("---"))
}

fn storm(name: &str, alike: bool, limits: &str) -> Outcome {
    let scenario = format!(
        "name: {name}\nmanifests: [manifests.yaml]\ncluster: {{ zones: [us-east-1a], ec2_limits: {limits} }}\n\
         images: {{ web: {{ cached: true }} }}\nrun: {{ until: 12m }}\n"
    );
    run_once(&written(name, &tenants(5, alike), &scenario), 0, false)
}

/// Provider `pkg/batcher/createfleet.go`: identical inputs are one call. Others meet the bucket of the account: what it refuses is
/// repeated and comes through in the end, no faster than the rate.
#[test]
fn launches_that_are_alike_are_one_call_and_others_wait_for_the_limit_of_the_account() {
    let limits = "{ create_fleet: { rate: 0.1, burst: 2 } }";
    let launched = |outcome: &Outcome| times(outcome, |change| matches!(change, Change::InstanceLaunched(_)));
    let throttled = |outcome: &Outcome| times(outcome, |change| matches!(change, Change::ClaimThrottled(_))).len();
    let calls = |outcome: &Outcome| outcome.world.ec2_calls(kubelapse::world::ec2_api::Ec2Call::CreateFleet);

    let alike = storm("storm-alike", true, limits);
    assert_eq!((launched(&alike).len(), throttled(&alike), calls(&alike)), (5, 0, (1, 0)));

    let apart = storm("storm-apart", false, limits);
    let at = launched(&apart);
    assert_eq!(at.len(), 5);
    assert!(throttled(&apart) > 0);
    let (made, refused) = calls(&apart);
    assert_eq!(made - refused, 5, "every launch took a token");
    // Two tokens at once, then one every ten seconds: the third launch is 10 s after the first at the earliest, the last 30 s.
    assert!(at[2].since(at[0]) + Span::from_secs(1) > Span::from_secs(10), "{at:?}");
    assert!(at[4].since(at[0]) + Span::from_secs(1) > Span::from_secs(30), "{at:?}");

    let free = storm("storm-free", false, "off");
    assert_eq!((throttled(&free), calls(&free).1), (0, 0));
    let at = launched(&free);
    assert!(at[4].since(at[0]) < Span::from_secs(1), "{at:?}");
}

/// A node whose TerminateInstances is throttled ends later.
#[test]
fn terminations_are_limited_as_well() {
    let ended = |limits: &str| {
        let name = format!("terminate-{}", limits.len());
        let scenario = format!(
            "name: {name}\nmanifests: [manifests.yaml]\ncluster: {{ zones: [us-east-1a], ec2_limits: {limits}, nodes: [{{ node_pool: \
             pool, name: first, instance_type: m5.large }}, {{ node_pool: pool, name: second, instance_type: m5.large }}] }}\n\
             images: {{ web: {{ cached: true }} }}\nrun: {{ until: 12m }}\n\
             actions: [{{ at: 1m, delete_node_claim: first }}, {{ at: 70s, delete_node_claim: second }}]\n"
        );
        let outcome = run_once(&written(&name, POOL, &scenario), 0, false);
        times(&outcome, |change| matches!(change, Change::InstanceShuttingDown(_)))
    };
    let (free, limited) = (ended("off"), ended("{ terminate_instances: { rate: 0.01, burst: 1 } }"));
    assert_eq!(free[0], limited[0], "the first takes the only token");
    assert!(limited[1].since(limited[0]) >= Span::from_secs(99), "the next comes after 100 s");
    assert!(free[1].since(free[0]) < Span::from_secs(60));
}

/// 60 small pods on m5.large nodes, by a kubelet section and the setting of the network plugin: nodes, and pods without address.
fn dense(name: &str, kubelet: &str, family: &str, prefixes: bool) -> (usize, usize, Plan) {
    let class = format!("spec:\n  {family}kubelet: {kubelet}\n  amiSelectorTerms");
    let manifests = POOL.replace("spec:\n  amiSelectorTerms", &class).replace("replicas: 2", "replicas: 60");
    let manifests = manifests.replace("cpu: 500m, memory: 64Mi", "cpu: 10m, memory: 16Mi");
    let scenario = format!(
        "name: {name}\nmanifests: [manifests.yaml]\ncluster: {{ zones: [us-east-1a], prefix_delegation: {prefixes} }}\n\
         images: {{ web: {{ cached: true }} }}\nrun: {{ until: 5m }}\n"
    );
    let plan = written(name, &manifests, &scenario);
    let world = run_once(&plan, 0, false).world;
    assert!(world.pods.iter().all(|pod| pod.node.is_some()), "{name}: all are bound");
    let lacking = world.pods.iter().filter(|pod| pod.address.is_none()).count();
    (world.nodes.len(), lacking, plan)
}

/// Karpenter counts `maxPods`, or what interfaces allow (m5.large: 3 of 10 addresses, 29 pods), and `podsPerCore` as a second limit
/// that Bottlerocket ignores; it does not know of prefixes (provider `instancetype/types.go`). Addresses are the network plugin's: 27,
/// or 16 times as many.
#[test]
fn pods_of_a_node_are_a_matter_of_max_pods_and_their_addresses_of_prefixes() {
    let noted = |plan: &Plan, text: &str| plan.remarks.iter().any(|remark| remark.contains(text));
    let (nodes, lacking, plan) = dense("dense-prefixes", "{ maxPods: 110 }", "", true);
    assert_eq!((nodes, lacking, plan.remarks.iter().any(|remark| remark.contains("prefix"))), (1, 0, false));
    let (nodes, lacking, plan) = dense("dense-addresses", "{ maxPods: 110 }", "", false);
    assert_eq!((nodes, lacking), (1, 60 - 27));
    assert!(noted(&plan, "m5.large has 27 addresses"));
    let (nodes, lacking, plan) = dense("dense-default", "{}", "", true);
    assert_eq!((nodes, lacking), (3, 0), "29 pods a node");
    assert!(noted(&plan, "sets no kubelet.maxPods"));
    assert_eq!(dense("dense-core", "{ maxPods: 110, podsPerCore: 10 }", "", true).0, 3, "2 vCPUs, 20 pods a node");
    let bottlerocket = "amiFamily: Bottlerocket\n  ";
    assert_eq!(dense("dense-bottlerocket", "{ maxPods: 110, podsPerCore: 10 }", bottlerocket, true).0, 1);
}

/// A t3.medium without credits computes with 0.4 cores: twenty requests a second of 40 ms each are served at half that rate. In mode
/// unlimited all are served, and the surplus of 0.4 cores costs 0.05 USD an hour and core.
#[test]
fn a_burstable_node_without_credits_computes_at_its_baseline_or_costs_more() {
    let play = |mode: &str, traffic: &str| {
        let manifests = POOL.replace("values: [m5.large]", "values: [t3.medium]").replace("replicas: 2", "replicas: 1");
        let manifests = format!(
            "{manifests}---\napiVersion: v1\nkind: Service\nmetadata: {{ name: web }}\nspec: {{ selector: {{ app: web }}, ports: \
             [{{ port: 80 }}] }}\n"
        );
        let scenario = format!(
            "name: credits-{mode}\nmanifests: [manifests.yaml]\ncluster: {{ zones: [us-east-1a], cpu_credits: {mode}, age: 0s, nodes: \
             [{{ node_pool: pool, name: first, instance_type: t3.medium }}] }}\n\
             images: {{ web: {{ cached: true }} }}\nservices: {{ web: {{ cpu_per_request: 40ms, workers: 20 }} }}\n\
             traffic: {{ web: {traffic} }}\nrun: {{ until: 11m }}\n"
        );
        let plan = written(&format!("credits-{mode}-{}", traffic.len()), &manifests, &scenario);
        let outcome = run_once(&plan, 0, false);
        let total = &outcome.world.ledgers[0].total;
        let served = total.served as f64 / kubelapse::world::REQUEST as f64 / 660.0;
        (served, outcome.world.instances[0].surplus().dollars(), outcome)
    };
    for traffic in ["20/s", "{ curve: 20/s, mode: fluid }"] {
        let (served, surplus, outcome) = play("standard", traffic);
        assert!((served - 10.0).abs() < 0.7, "{traffic}: {served} a second");
        assert_eq!(surplus, 0.0);
        let held = times(&outcome, |change| matches!(change, Change::NodeThrottled(_, true)));
        assert_eq!(held.len(), 1, "{traffic}: held once, and for good");
        let (served, surplus, outcome) = play("unlimited", traffic);
        assert!((served - 20.0).abs() < 0.3, "{traffic}: {served} a second");
        let expected = 0.4 * 11.0 / 60.0 * 0.05;
        assert!((surplus - expected).abs() < 0.03 * expected, "{traffic}: {surplus}, {expected}");
        assert_eq!(times(&outcome, |change| matches!(change, Change::NodeThrottled(..))), []);
    }
    let (served, surplus, _) = play("off", "20/s");
    assert!(served > 19.7 && surplus == 0.0);
}

/// What runs pays the spot price of now, never more than on demand; a bill is what was paid for each stretch of time.
#[test]
fn running_spot_nodes_pay_the_price_of_now() {
    let what = "faults: [{ at: 10m, for: 10m, spot_price: { instance_type: m5.large, factor: 2 } }, { at: 30m, for: 10m, spot_price: \
                { factor: 1000 } }]\nrun: { until: 1h }";
    let plan = planned("spot-price", what);
    let outcome = run_once(&plan, 0, false);
    let instance = &outcome.world.instances[0];
    let offering = |kind: CapacityType| {
        let entry = plan.instance_type(instance.instance_type);
        entry.offerings.iter().find(|one| one.capacity_type == kind).expect("it is offered").price.0
    };
    let (spot, on_demand) = (offering(CapacityType::Spot), offering(CapacityType::OnDemand));
    let dearer = (2 * spot).min(on_demand);
    let expected = (spot * 40 + dearer * 10 + on_demand * 10) as f64 / 60.0;
    let cost = kubelapse::analysis::totals::cost(&plan, instance).0;
    assert!((cost as f64 - expected).abs() <= 1.0, "{cost}, {expected}");
    outcome.world.check().expect("the bill of all is that of each");
}

/// EC2 chooses by the price of now among what Karpenter asks for; Karpenter itself knows what it read last.
#[test]
fn a_launch_goes_by_the_price_of_now_and_karpenter_by_what_it_has_read() {
    let manifests = POOL.replace("values: [m5.large]", "values: [m5.large, m6i.large]");
    let manifests = manifests.replace(
        "requirements: [",
        "requirements: [{ key: karpenter.sh/capacity-type, operator: In, values: [spot] }, ",
    );
    let play = |name: &str, faults: &str| {
        let scenario = format!(
            "name: {name}\nmanifests: [manifests.yaml]\ncluster: {{ zones: [us-east-1a], prices: {{ m5.large: {{ spot: 0.03 }}, \
             m6i.large: {{ spot: 0.04 }} }} }}\ncontrollers: {{ karpenter.pricing_period: 20m }}\n\
             images: {{ web: {{ cached: true }} }}\nfaults: [{faults}]\n\
             actions: [{{ at: 1m, scale: {{ deployment: web, replicas: 3 }} }}]\nrun: {{ until: 15m }}\n"
        );
        let plan = written(name, &manifests.replace("replicas: 2", "replicas: 0"), &scenario);
        let outcome = run_once(&plan, 0, false);
        let bought = plan.instance_type(outcome.world.instances[0].instance_type).name.clone();
        (bought, outcome, plan)
    };
    assert_eq!(play("price-still", "").0, "m5.large");
    let (bought, outcome, plan) =
        play("price-moved", "{ at: 0s, spot_price: { instance_type: m5.large, factor: 1.5 } }");
    assert_eq!(bought, "m6i.large", "0.045 is more than 0.04");
    let prices = outcome.world.prices.all();
    let of = |name: &str| prices.iter().find(|price| price.name.starts_with(name)).expect("it moves");
    // The period is 20 min; without noise its first end is half of it after the start.
    assert_eq!((of("m5.large").actual.0, of("m5.large").known.0), (45_000, 45_000));
    let before = plan.start + Span::from_secs(600);
    assert!(
        times(&outcome, |change| matches!(change, Change::InstanceLaunched(_)))[0] < before,
        "bought before it read that"
    );
}

/// About three changes a day for each type and zone (price logs of 2021), slow ones; without noise none.
#[test]
fn prices_move_three_times_a_day_and_not_without_noise() {
    let manifests = POOL.replace("values: [m5.large]", "values: [m5.large, m6i.large, c5.large, r5.large, m6a.large]");
    let manifests = manifests.replace("replicas: 2", "replicas: 0");
    let play = |noise: &str| {
        let scenario = format!(
            "name: walk-{noise}\nmanifests: [manifests.yaml]\nspot_market: {{ interruptions: off, shortage: 0%, prices: moving }}\n\
             run: {{ until: 10d, noise: {noise}, seed: 3 }}\n"
        );
        let plan = written(&format!("walk-{noise}"), &manifests, &scenario);
        let outcome = run_once(&plan, 0, false);
        let moved = times(&outcome, |change| matches!(change, Change::SpotPrice(..))).len();
        (moved, outcome)
    };
    assert_eq!(play("off").0, 0);
    let (moved, outcome) = play("on");
    let prices = outcome.world.prices.all();
    assert_eq!(prices.len(), 15);
    // 15 prices, 10 days: 450 changes, within 99.9 % of a Poisson count; a few round to the same price.
    assert!((moved as f64 - 450.0).abs() < 3.29 * 450.0_f64.sqrt(), "{moved}");
    assert!(prices.iter().all(|price| price.walk.abs() < 0.3), "they stay near where they were");
}

/// Types of the machines of a pool with these requirements, for a Deployment with these resources of a pod.
fn bought(name: &str, requirements: &str, resources: &str) -> (Vec<String>, usize) {
    let wanted = "[{ key: node.kubernetes.io/instance-type, operator: In, values: [m5.large] }]";
    let manifests = POOL.replace(wanted, requirements).replace("cpu: 500m, memory: 64Mi", resources);
    let scenario = format!("name: {name}\nmanifests: [manifests.yaml]\nrun: {{ until: 10m }}\n");
    let plan = written(name, &manifests, &scenario);
    let outcome = run_once(&plan, 0, false);
    let types = outcome.world.instances.iter().map(|one| plan.instance_type(one.instance_type).name.clone()).collect();
    let drifted = times(&outcome, |change| matches!(change, Change::ClaimDisrupted(..)));
    (types, drifted.len())
}

/// Provider `pkg/providers/instancetype/types.go` (`computeRequirements`): a type without local NVMe lacks the label, and those
/// with it have its size in GB: of m and c types above 300 GB the cheapest is c5ad.2xlarge.
#[test]
fn a_pool_that_asks_for_local_disks_gets_types_that_have_them_and_they_stay() {
    let nvme = "[{ key: karpenter.k8s.aws/instance-local-nvme, operator: Gt, values: ['299'] }, \
                { key: karpenter.k8s.aws/instance-family, operator: In, values: [m5, c5ad] }]";
    let (types, drifted) = bought("local-disks", nvme, "cpu: 500m, memory: 64Mi");
    assert_eq!((types, drifted), (vec!["c5ad.2xlarge".to_string()], 0));
}

/// Provider `filter.go` (`ExoticInstanceTypeFilter`): GPUs for pods that ask for them, and for no others though they be cheaper.
#[test]
fn devices_are_bought_for_pods_that_ask_for_them() {
    let types = "[{ key: node.kubernetes.io/instance-type, operator: In, values: [g4dn.xlarge, m5.8xlarge] }]";
    let (bought_for_devices, _) = bought("gpu", types, "cpu: 500m, memory: 64Mi, nvidia.com/gpu: 1");
    assert_eq!(bought_for_devices, ["g4dn.xlarge", "g4dn.xlarge"], "one GPU each");
    let (bought_for_others, _) = bought("no-gpu", types, "cpu: 500m, memory: 64Mi");
    assert_eq!(bought_for_others, ["m5.8xlarge"], "at three times the price");
}
