//! What happens to Karpenter's machines between launch and end, in small scenarios: recommendations, volumes, repair, limits
//! of the EC2 API, pods a node, CPU credits, prices. Facts from the provider's and Karpenter's sources and from AWS's guides.

use crate::support::written;
use kubelapse::components::Outcome;
use kubelapse::engine::Time;
use kubelapse::plan::Plan;
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
    let delivery = plan.timings.median(kubelapse::plan::Stage::InterruptionDelivery);
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
