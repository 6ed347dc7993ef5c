//! Large clusters: what a scheduling decision costs, and how long whole runs take, with peak memory.
//!
//! Not criterion: a run of seconds needs no statistics, and peak memory is a property of a process. Prints one line a
//! measurement; `cargo bench --bench cluster`. `cargo bench --bench cluster -- instructions` runs each measurement under
//! valgrind instead and prints how many instructions it executes: of what a decision costs, and of a whole run. That
//! takes minutes, and other work on the machine has no part in it. Nodes and pods carry what real ones do: three zones,
//! two sizes, a tenth of the nodes tainted for batch work; of ten Deployments four have no constraint (the system's
//! default spreading applies), two spread hard over zones and softly over hosts, one keeps its pods on different hosts,
//! one prefers to be near another, one asks for a size of node, and one tolerates the taint and goes there.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

#[path = "support/instructions.rs"]
mod support;

use kubelapse::components::Outcome;
use kubelapse::components::kubernetes::scheduler::Placer;
use kubelapse::plan::Plan;
use kubelapse::scenario::{self, LoadOptions};
use kubelapse::study::run_once;
use kubelapse::world::{NewPod, Owner, World};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Instant;
use support::instructions;

/// A cluster of `nodes` nodes with `deployments` Deployments of `replicas`, ready at the start or (`pending`) created
/// by scaling them after ten seconds.
struct Shape {
    nodes: usize,
    deployments: usize,
    replicas: usize,
    pending: bool,
    until: &'static str,
}

impl Shape {
    /// The plan of this cluster, through the reader that users' files go through.
    fn plan(&self) -> Plan {
        let folder = std::env::temp_dir().join(format!("kubelapse-cluster-{}", std::process::id()));
        let scenarios = folder.join("scenarios");
        fs::create_dir_all(&scenarios).expect("a temporary folder");
        fs::write(scenarios.join("apps.yaml"), self.manifests()).expect("manifests are written");
        let path = scenarios.join("cluster.yaml");
        fs::write(&path, self.scenario()).expect("the scenario is written");
        let plan = load(&path);
        fs::remove_dir_all(&folder).expect("the temporary folder goes");
        plan
    }

    fn scenario(&self) -> String {
        let mut text = String::from(
            "name: cluster\nmanifests: [apps.yaml]\ncluster:\n  zones: [us-east-1a, us-east-1b, us-east-1c]\n  nodes:\n",
        );
        let batch = self.nodes / 10;
        let large = self.nodes / 3;
        let plain = self.nodes - batch - large;
        let _ = writeln!(text, "    - {{ name: plain, instance_type: m5.2xlarge, count: {plain} }}");
        let _ = writeln!(text, "    - {{ name: large, instance_type: m5.4xlarge, count: {large} }}");
        let _ = writeln!(
            text,
            "    - {{ name: batch, instance_type: m5.2xlarge, count: {batch}, labels: {{ work: batch }}, \
             taints: [{{ key: work, value: batch, effect: NoSchedule }}] }}"
        );
        if self.pending {
            text.push_str("actions:\n");
            for n in 0..self.deployments {
                let replicas = self.replicas;
                let _ = writeln!(text, "  - {{ at: 10s, scale: {{ deployment: app-{n}, replicas: {replicas} }} }}");
            }
        } else {
            // An hour of work: every Deployment of the first tenth grows by a fifth and shrinks again.
            text.push_str("actions:\n");
            for n in 0..self.deployments / 10 {
                let (at, more) = (300 + 60 * n % 3000, self.replicas * 6 / 5);
                let _ = writeln!(text, "  - {{ at: {at}s, scale: {{ deployment: app-{n}, replicas: {more} }} }}");
                let (at, same) = (at + 240, self.replicas);
                let _ = writeln!(text, "  - {{ at: {at}s, scale: {{ deployment: app-{n}, replicas: {same} }} }}");
            }
        }
        let _ = writeln!(text, "run: {{ until: {} }}", self.until);
        text
    }

    fn manifests(&self) -> String {
        let replicas = if self.pending { 0 } else { self.replicas };
        (0..self.deployments).map(|n| deployment(n, replicas)).collect()
    }
}

fn deployment(n: usize, replicas: usize) -> String {
    let extra = match n % 10 {
        4 | 5 => format!(
            "      topologySpreadConstraints:\n      - {{ maxSkew: 1, topologyKey: topology.kubernetes.io/zone, \
             whenUnsatisfiable: DoNotSchedule, labelSelector: {{ matchLabels: {{ app: app-{n} }} }} }}\n      - {{ maxSkew: 1, \
             topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {{ matchLabels: \
             {{ app: app-{n} }} }} }}\n"
        ),
        6 => format!(
            "      affinity: {{ podAntiAffinity: {{ requiredDuringSchedulingIgnoredDuringExecution: [ {{ topologyKey: \
             kubernetes.io/hostname, labelSelector: {{ matchLabels: {{ app: app-{n} }} }} }} ] }} }}\n"
        ),
        7 => format!(
            "      affinity: {{ podAffinity: {{ preferredDuringSchedulingIgnoredDuringExecution: [ {{ weight: 50, \
             podAffinityTerm: {{ topologyKey: topology.kubernetes.io/zone, labelSelector: {{ matchLabels: {{ app: app-{} \
             }} }} }} }} ] }} }}\n",
            n - 7
        ),
        8 => "      nodeSelector: { node.kubernetes.io/instance-type: m5.4xlarge }\n".to_string(),
        9 => {
            "      nodeSelector: { work: batch }\n      tolerations: [ { key: work, operator: Exists } ]\n".to_string()
        }
        _ => String::new(),
    };
    format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: app-{n} }}\nspec:\n  replicas: {replicas}\n  \
         selector: {{ matchLabels: {{ app: app-{n} }} }}\n  template:\n    metadata: {{ labels: {{ app: app-{n} }} }}\n    \
         spec:\n{extra}      containers:\n      - name: app\n        image: registry/app-{n}\n        resources: {{ requests: \
         {{ cpu: 250m, memory: 256Mi }} }}\n---\napiVersion: v1\nkind: Service\nmetadata: {{ name: app-{n} }}\nspec:\n  \
         selector: {{ app: app-{n} }}\n  ports: [ {{ port: 80 }} ]\n"
    )
}

fn load(path: &Path) -> Plan {
    match scenario::load(path, &LoadOptions::default()) {
        Ok(mut loaded) => {
            loaded.plan.limits.events_max = u64::MAX;
            loaded.plan
        }
        Err(problems) => panic!("{}", problems.render(false)),
    }
}

/// Peak memory of this process so far, MiB; Linux only.
fn peak_mebibytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()? / 1024)
}

fn peak() -> String {
    peak_mebibytes().map_or_else(|| "peak memory unknown".to_string(), |peak| format!("peak {peak} MiB"))
}

/// Seconds for which the processor has worked on this thread (Linux): other work on the machine counts less than in wall
/// time.
fn processor_seconds() -> Option<f64> {
    let line = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(line.split(' ').next()?.parse::<u64>().ok()? as f64 / 1e9)
}

/// What something takes, in seconds: of the processor if that is known, and by the clock.
fn timed<T>(act: impl FnOnce() -> T) -> (T, f64, f64) {
    let (before, began) = (processor_seconds(), Instant::now());
    let result = act();
    let clock = began.elapsed().as_secs_f64();
    let processor = before.zip(processor_seconds()).map_or(clock, |(before, after)| after - before);
    (result, processor, clock)
}

/// A whole run: seconds, pods, memory.
fn whole_run(what: &str, shape: &Shape) {
    let plan = shape.plan();
    let (outcome, processor, clock) = timed(|| run(&plan));
    let bound = outcome.world.pods.iter().filter(|pod| pod.node.is_some() && pod.gone.is_none()).count();
    println!(
        "{what}: {processor:.3} s of processor, {clock:.3} s, {bound} pods bound at the end, {} events, {}",
        outcome.events,
        peak()
    );
}

/// What is measured of a whole run, by a name that valgrind finds.
#[inline(never)]
fn run(plan: &Plan) -> Outcome {
    run_once(plan, 0, false)
}

/// A cluster of nodes and pods to decide on.
struct Ground {
    plan: Plan,
    world: World,
    placer: Placer,
    deployments: usize,
    pods: u32,
}

impl Ground {
    fn new(nodes: usize, deployments: usize, replicas: usize) -> Ground {
        let plan = Shape { nodes, deployments, replicas, pending: false, until: "1h" }.plan();
        let mut world = World::new(&plan);
        kubelapse::components::bootstrap::populate(&plan, &mut world);
        let placer = Placer::new(&world);
        Ground { plan, world, placer, deployments, pods: 0 }
    }

    /// Four more pods for every Deployment, in turn: how many decisions that are.
    #[inline(never)]
    fn decide(&mut self) -> usize {
        for n in 0..4 * self.deployments {
            let set = kubelapse::world::ReplicaSetId::at(n % self.deployments);
            let template = self.world.replica_sets[set.index()].template;
            let owner = Owner::ReplicaSet(set);
            self.pods += 1;
            let ordinal = 1_000_000 + self.pods;
            let pod = self.world.create_pod(NewPod { template, owner, ordinal, pinned: None, name: None });
            if let Some(node) = self.placer.place(&self.plan, &self.world, pod) {
                self.world.bind_pod(pod, node);
            }
        }
        4 * self.deployments
    }
}

/// Clusters on which decisions are measured: nodes, Deployments, replicas.
const GROUNDS: [(usize, usize, usize); 3] = [(1_000, 50, 200), (10_000, 50, 200), (10_000, 50, 2_000)];
/// Rounds of decisions; the first of them finds nothing kept from earlier ones.
const ROUNDS: usize = 10;

/// The cost of one decision: the cheapest of some rounds, in each of which every Deployment gets the same number of
/// pods. Microseconds by the clock: a round is hardly longer than the tick by which the system counts time of the
/// processor.
fn decision((nodes, deployments, replicas): (usize, usize, usize)) -> f64 {
    let mut ground = Ground::new(nodes, deployments, replicas);
    let bound = ground.world.pods.len();
    let rounds = (0..ROUNDS).map(|_| timed(|| ground.decide()));
    let micros = rounds.map(|(count, _, clock)| clock * 1e6 / count as f64).fold(f64::INFINITY, f64::min);
    println!("a decision with {nodes} nodes and {bound} pods: {micros:.1} us");
    micros
}

fn decisions() {
    let [small, few, many] = GROUNDS.map(decision);
    ratios(small, few, many);
}

fn ratios(small: f64, few: f64, many: f64) {
    println!("ten times the pods: {:.2} times the cost; ten times the nodes: {:.2} times", many / few, few / small);
}

fn count_instructions() {
    let per_decision = [0, 1, 2].map(|index: usize| {
        let (nodes, deployments, replicas) = GROUNDS[index];
        let each =
            instructions(&format!("ground-{index}"), "cluster::Ground::decide") / (ROUNDS * 4 * deployments) as f64;
        println!("a decision with {nodes} nodes and {} pods: {each:.0} instructions", deployments * replicas);
        each
    });
    let [small, few, many] = per_decision;
    ratios(small, few, many);
    for part in ["pending", "hour"] {
        println!("{part}: {:.3} billion instructions", instructions(part, "cluster::run") / 1e9);
    }
}

/// `cargo bench --bench cluster -- pending` takes one part only: `decisions`, `pending` or `hour`.
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let is_wanted = |part: &str| arguments.is_empty() || arguments.iter().any(|wanted| wanted == part);
    if arguments.iter().any(|argument| argument == "instructions") {
        return count_instructions();
    }
    for (index, &(nodes, deployments, replicas)) in GROUNDS.iter().enumerate() {
        if arguments.contains(&format!("ground-{index}")) {
            let mut ground = Ground::new(nodes, deployments, replicas);
            (0..ROUNDS).for_each(|_| {
                ground.decide();
            });
        }
    }
    if is_wanted("decisions") {
        decisions();
    }
    if is_wanted("pending") {
        let pending = Shape { nodes: 1_000, deployments: 50, replicas: 200, pending: true, until: "10m" };
        whole_run("1 000 nodes, 10 000 pods to place", &pending);
    }
    if is_wanted("hour") {
        let hour = Shape { nodes: 10_000, deployments: 50, replicas: 2_000, pending: false, until: "1h" };
        whole_run("10 000 nodes, 100 000 pods, one hour", &hour);
    }
}
