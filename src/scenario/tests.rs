//! Whole scenarios: the shipped ones become plans, mistakes become messages.

use super::*;
use crate::plan::{
    ActionKind, CapacityType, ConsolidationPolicy, FaultKind, PodCall, ProbeHandler, Stage, TargetGroupId,
};
use std::fs;

/// A folder named `scenarios` of its own for each test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let base = std::env::temp_dir().join(format!("kubelapse-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        fs::create_dir_all(base.join("scenarios")).unwrap();
        Folder(base)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join("scenarios").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// The text shown for a scenario that cannot run, as if it were read in its own folder.
    fn problems(&self, text: &str) -> String {
        let path = self.write("s.yaml", text);
        let shown = load(&path, &LoadOptions::default()).expect_err("the scenario is wrong").render(false);
        shown.replace(&format!("{}/", path.parent().unwrap().display()), "")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn shipped(name: &str) -> Loaded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name);
    match load(&path, &LoadOptions::default()) {
        Ok(loaded) => loaded,
        Err(problems) => panic!("{}", problems.render(false)),
    }
}

const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec: { containers: [{ name: c, resources: { requests: { cpu: 100m } } }] }
";

#[test]
fn the_shipped_scale_up_becomes_the_plan_it_describes() {
    let loaded = shipped("scale-up.yaml");
    let plan = &loaded.plan;
    assert_eq!(render_all(&loaded.warnings, &loaded.sources, false), "");
    assert_eq!((plan.name.as_str(), plan.noise, plan.seed), ("scale-up", false, 1));
    assert_eq!(plan.until.since(plan.start), Span::from_secs(1200));
    let app = &plan.apps[0];
    assert_eq!(app.cpu_per_request, Span::from_millis(120));
    assert_eq!(app.target_group, Some(crate::plan::TargetGroupId(0)));
    assert_eq!(app.traffic.at(plan.start + Span::from_secs(299)), 8.0);
    assert_eq!(app.traffic.at(plan.start + Span::from_secs(300)), 30.0);
    assert_eq!(plan.nodes.len(), 1);
    assert_eq!(plan.nodes[0].name, "wordpress-nodepool-initial-01");
    assert_eq!(plan.nodes[0].capacity_type, CapacityType::Spot);
    assert_eq!(plan.nodes[0].taints.len(), 1, "the pool's taint");
    let node = plan.instance_type(plan.nodes[0].instance_type.unwrap());
    assert_eq!((node.name.as_str(), node.allocatable.cpu.0, node.offerings.len()), ("t3.medium", 1930, 6));
    let template = plan.template(plan.deployments[0].template);
    assert_eq!(template.requests.cpu.0, 500);
    assert_eq!(template.containers[0].pre_stop, Some(Span::from_secs(25)));
    let probe = template.containers[0].readiness.as_ref().unwrap();
    assert_eq!(probe.handler, ProbeHandler::Http("/wp-login.php".to_string()));
    assert_eq!(template.tolerations.len(), 3, "its own and the two of admission");
    let pool = &plan.node_pools[0];
    assert_eq!(pool.expire_after, Some(Span::from_secs(1800)));
    assert_eq!(pool.consolidate_after, Some(Span::from_secs(30)));
    assert_eq!(plan.alarms[0].target_group, Some(crate::plan::TargetGroupId(0)));
    assert_eq!(plan.template(plan.daemon_sets[0].template).priority, 2_000_001_000);
    assert_eq!(plan.timings.median(Stage::ImagePull), Span::from_secs(12));
    assert!(plan.images.iter().any(|image| image.cached));
    assert_eq!(plan.claims.len(), 1);
    assert_eq!(plan.hash.len(), 16);
}

#[test]
fn all_shipped_scenarios_load_and_loading_is_repeatable() {
    for name in ["scale-up.yaml", "scale-down.yaml", "spot-replacement.yaml"] {
        assert_eq!(shipped(name).plan.hash, shipped(name).plan.hash);
    }
    assert_ne!(shipped("scale-up.yaml").plan.hash, shipped("scale-down.yaml").plan.hash);
    assert_eq!(shipped("spot-replacement.yaml").plan.faults.len(), 1);
}

#[test]
fn the_printed_manifests_are_reported_and_converted() {
    let folder = Folder::new("seed");
    for name in ["v1beta1.yaml", "deployment.yaml", "alarms.yaml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/wordpress/seed").join(name);
        folder.write(&format!("seed/{name}"), fs::read(path).unwrap());
    }
    let path = folder.write("s.yaml", "manifests: [seed/]\ntarget_groups: { wordpress: }\n");
    let loaded = load(&path, &LoadOptions::default()).unwrap_or_else(|problems| panic!("{problems}"));
    let codes: Vec<&str> = loaded.warnings.iter().map(|warning| warning.code).collect();
    for code in ["W110", "W111", "W112", "W113", "W130", "N104"] {
        assert!(codes.contains(&code), "{code} in {codes:?}");
    }
    let pool = &loaded.plan.node_pools[0];
    assert_eq!(pool.consolidation_policy, ConsolidationPolicy::WhenEmptyOrUnderutilized);
    assert_eq!(pool.consolidate_after, Some(Span::from_secs(30)));
    assert_eq!(pool.expire_after, Some(Span::from_secs(1800)));
    let text = render_all(&loaded.warnings, &loaded.sources, false);
    assert!(text.contains("v1beta1 rejects consolidateAfter with WhenUnderutilized"), "{text}");
}

#[test]
fn all_mistakes_are_shown_at_once_in_order() {
    let folder = Folder::new("mistakes");
    folder.write("web.yaml", DEPLOYMENT);
    let text = folder.problems(
        "name: s
manifests: [web.yaml]
target_groups:
  web: { deregistraton_delay: 30s }
services:
  web: { cpu_per_request: 3 parsecs, workers: many, memory: 5mb }
traffic:
  webb: 8/s
timings:
  image.pull: \"lognormal(2.8s, sgma=0.2)\"
run: { until: 20m }
",
    );
    insta::assert_snapshot!(text, @r#"
    error[E010]: `target_groups.web` has no field `deregistraton_delay`
     --> s.yaml:4:10
      |
    4 |   web: { deregistraton_delay: 30s }
      |          ^^^^^^^^^^^^^^^^^^^ unknown field
      |
      = help: did you mean `deregistration_delay`?

    error[E013]: services.web.cpu_per_request: `3 parsecs` is not a duration or distribution such as 3s or lognormal(3s, 0.2)
     --> s.yaml:6:28
      |
    6 |   web: { cpu_per_request: 3 parsecs, workers: many, memory: 5mb }
      |                            ^^^^^^^^ unknown unit
      |
      = help: units are ns, us, ms, s, m, h and d

    error[E012]: services.web.workers: expected a whole number, found `many`
     --> s.yaml:6:47
      |
    6 |   web: { cpu_per_request: 3 parsecs, workers: many, memory: 5mb }
      |                                               ^^^^ expected a whole number

    error[E013]: services.web.memory: `5mb` is not a quantity such as 250m or 512Mi
     --> s.yaml:6:62
      |
    6 |   web: { cpu_per_request: 3 parsecs, workers: many, memory: 5mb }
      |                                                              ^^ unknown suffix
      |
      = help: suffixes are n, u, m, k, M, G, T, P, E and Ki, Mi, Gi, Ti, Pi, Ei

    error[E016]: traffic: no manifest holds a Deployment `webb`
     --> s.yaml:8:3
      |
    8 |   webb: 8/s
      |   ^^^^ unknown Deployment
      |
      = help: did you mean `web`?

    error[E013]: timings.image.pull: the text "lognormal(2.8s, sgma=0.2)" is not a duration or distribution such as 3s or lognormal(3s, 0.2)
      --> s.yaml:10:32
       |
    10 |   image.pull: "lognormal(2.8s, sgma=0.2)"
       |                                ^^^^^^^^^ unknown parameter
       |
       = help: did you mean `sigma`?

    6 errors
    "#);
}

#[test]
fn syntax_mistakes_have_their_place() {
    let folder = Folder::new("syntax");
    insta::assert_snapshot!(folder.problems("name: s\nname: t\n"), @r#"
    error[E006]: the key `name` stands here twice
     --> s.yaml:2:1
      |
    2 | name: t
      | ^^^^ again
      |
     ::: s.yaml:1:1
      |
    1 | name: s
      | ---- first
      |
      = help: remove one of them

    1 error
    "#);
    insta::assert_snapshot!(folder.problems("run:\n\tuntil: 5m\n"), @r#"
    error[E005]: a tab indents this line
     --> s.yaml:2:1
      |
    2 |     until: 5m
      | ^^^^ YAML allows only spaces here
      |
      = help: replace the tab by spaces

    1 error
    "#);
    insta::assert_snapshot!(folder.problems("manifests: [nothing.yaml]\n"), @r#"
    error[E001]: cannot read nothing.yaml: there is no such file or folder
     --> s.yaml:1:13
      |
    1 | manifests: [nothing.yaml]
      |             ^^^^^^^^^^^^

    1 error
    "#);
    insta::assert_snapshot!(folder.problems("manifests: [../../etc/]\n"), @r#"
    error[E002]: the path ../../etc/ leaves the scenario root
     --> s.yaml:1:13
      |
    1 | manifests: [../../etc/]
      |             ^^^^^^^^^^
      |
      = help: only what is below the nearest folder named `scenarios` (or below --root) can be named; bring other data with --data NAME=FILE

    1 error
    "#);
}

#[test]
fn hostile_input_ends_in_a_message() {
    let folder = Folder::new("hostile");
    let bomb: String =
        (0..20).map(|i| format!("a{}: &a{} [{}]\n", i + 1, i + 1, vec![format!("*a{i}"); 9].join(","))).collect();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("aliases blow", format!("a0: &a0 x\n{bomb}").into_bytes()),
        ("inside the very node", b"a: &a [*a]\n".to_vec()),
        ("nested deeper", "[".repeat(100_000).into_bytes()),
        ("not UTF-8", b"name: \xff\xfe\n".to_vec()),
        ("NUL", b"name: a\0b\n".to_vec()),
        ("bytes", vec![b'a'; yaml::FILE_BYTES_MAX + 1]),
        ("a text of", format!("name: {}\n", "a".repeat(yaml::SCALAR_BYTES_MAX + 1)).into_bytes()),
        ("more than 200000 nodes", "- a\n".repeat(200_001).into_bytes()),
        ("out of range", b"run: { seed: 99999999999999999999 }\nrun2: 1\n".to_vec()),
    ];
    for (expected, bytes) in cases {
        let path = folder.write("s.yaml", bytes);
        let shown = load(&path, &LoadOptions::default()).expect_err(expected).render(false);
        assert!(shown.contains(expected) || shown.contains("whole number"), "{expected}: {shown}");
    }
}

#[test]
fn anchors_and_merge_keys_are_resolved() {
    let mut problems = Problems::new();
    let text = "base: &base { a: 1, b: 2 }\nown: { <<: *base, b: 3 }\n";
    let file = problems.add_source("t.yaml", text.into());
    let node = yaml::parse_one(file, text, &mut problems).unwrap();
    let own = node.get("own").unwrap();
    assert_eq!(own.get("a").and_then(Node::text), Some("1"));
    assert_eq!(own.get("b").and_then(Node::text), Some("3"), "what is written wins");
    assert!(!problems.has_errors());
}

#[test]
fn both_yaml_readers_agree_on_the_shipped_files() {
    fn same(ours: &Node, theirs: &serde_yaml::Value) -> bool {
        use serde_yaml::Value;
        match theirs {
            Value::Null => ours.is_null(),
            Value::Bool(value) => ours.text() == Some(&value.to_string()) || ours.text() == Some("off"),
            Value::Number(value) => ours.text().and_then(|text| text.parse::<f64>().ok()) == value.as_f64(),
            Value::String(value) => ours.text() == Some(value),
            Value::Sequence(items) => {
                items.len() == ours.items().len() && items.iter().zip(ours.items()).all(|(a, b)| same(b, a))
            }
            Value::Mapping(entries) => {
                entries.len() == ours.entries().len()
                    && entries
                        .iter()
                        .zip(ours.entries())
                        .all(|((key, value), entry)| key.as_str() == Some(&*entry.key) && same(&entry.value, value))
            }
            Value::Tagged(_) => false,
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut count = 0;
    for folder in [root.clone(), root.join("wordpress"), root.join("wordpress/seed")] {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.extension().is_none_or(|end| end != "yaml") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let mut problems = Problems::new();
            let file = problems.add_source("t.yaml", text.as_str().into());
            let ours = yaml::parse(file, &text, &mut problems);
            use serde::Deserialize;
            let theirs: Vec<serde_yaml::Value> = serde_yaml::Deserializer::from_str(&text)
                .map(|document| serde_yaml::Value::deserialize(document).unwrap())
                .collect();
            assert_eq!(ours.len(), theirs.len(), "{}", path.display());
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert!(same(ours, theirs), "{}", path.display());
            }
            count += 1;
        }
    }
    assert!(count >= 10);
}

#[test]
fn loads_of_every_shape() {
    let folder = Folder::new("shapes");
    folder.write("web.yaml", DEPLOYMENT);
    folder.write("trace.csv", "minute,requests\n0,60\n1,120\n");
    let path = folder.write(
        "s.yaml",
        "manifests: [web.yaml]
services: { web: { cpu_per_request: 10ms } }
traffic:
  web:
    mode: fluid
    curve:
      - { rate: 8/s }
      - { at: 1m, ramp_to: 20/s, over: 1m }
      - { at: 3m, spike: 100/s, for: 30s }
      - { at: 5m, trace: trace.csv, column: requests }
      - { at: 10m, sine: { mean: 10/s, amplitude: 5/s, period: 8m }, for: 8m }
      - { at: 20m, schedule: { \"00:30\": 7/s, \"01:00\": 3/s } }
load: { web: 1500m }
run: { until: 2h }
",
    );
    let loaded = load(&path, &LoadOptions::default()).unwrap_or_else(|problems| panic!("{problems}"));
    let app = &loaded.plan.apps[0];
    let rate = |seconds| app.traffic.at(loaded.plan.start + Span::from_secs(seconds));
    assert_eq!((rate(30), rate(90), rate(150)), (8.0, 14.0, 20.0));
    assert_eq!((rate(190), rate(220)), (100.0, 20.0));
    assert_eq!((rate(310), rate(370)), (1.0, 2.0));
    assert!((rate(720) - 15.0).abs() < 1e-9, "a quarter of the period after its start");
    assert_eq!((rate(1200), rate(1800), rate(3600)), (3.0, 7.0, 3.0), "yesterday's last level holds until 00:30");
    assert_eq!(app.cores.as_ref().unwrap().at(loaded.plan.start), 1.5);
    assert_eq!(app.mode, crate::plan::TrafficMode::Fluid);
}

#[test]
fn clients_and_work_of_every_kind() {
    let folder = Folder::new("clients");
    folder.write("web.yaml", DEPLOYMENT);
    let path = folder.write(
        "s.yaml",
        "manifests: [web.yaml]
services:
  web:
    cpu_per_request: exponential(mean=10ms)
    wait_per_request: uniform(0s, 40ms)
    cpu_rises: { by: 25%, at: 20 }
    warm_up: { factor: 3, for: 1m }
traffic:
  web:
    users: [{ users: 5 }, { at: 1m, users: 100 }]
    think: uniform(0.1s, 1s)
    timeout: 5s
    hold: 30s
    retries: { max: 4, backoff: 100ms, factor: 3, jitter: off, budget: 10% }
actions:
  - { at: 2m, set_load: { service: web, users: 7 } }
",
    );
    let loaded = load(&path, &LoadOptions::default()).unwrap_or_else(|problems| panic!("{problems}"));
    let app = &loaded.plan.apps[0];
    assert_eq!((app.cpu_per_request, app.wait_per_request), (Span::from_millis(10), Span::from_millis(20)));
    assert!(app.demand.cpu.is_some() && app.demand.wait.is_some());
    assert_eq!(app.demand.rise, Some(crate::plan::Rise { by: 0.25, at: 20 }));
    assert_eq!(app.demand.warm_up, Some(crate::plan::WarmUp { factor: 3.0, lasts: Span::from_secs(60) }));
    let clients = &app.clients;
    assert_eq!(app.traffic.at(loaded.plan.start + Span::from_secs(90)), 100.0);
    assert_eq!(clients.think.as_ref().map(crate::plan::Distribution::mean), Some(Span::from_millis(550)));
    assert_eq!((clients.timeout, clients.hold), (Some(Span::from_secs(5)), Span::from_secs(30)));
    let retries = clients.retries.unwrap();
    assert_eq!((retries.max, retries.wait(2), retries.budget), (4, Span::from_millis(300), Some(0.1)));
    assert!(!retries.jitter);
    // Five users who think for 0.55 s and wait for 30 ms.
    assert!((app.rate_at(loaded.plan.start) - 5.0 / 0.58).abs() < 1e-9);
}

#[test]
fn clients_that_cannot_be_are_said_all_at_once() {
    let folder = Folder::new("clients-wrong");
    folder.write("web.yaml", DEPLOYMENT);
    let text = folder.problems(
        "manifests: [web.yaml]
services: { web: { cpu_per_request: never, cpu_rises: { by: -5%, at: 1 }, warm_up: { factor: 0.5 } } }
traffic:
  web: { mode: fluid, users: 5, arrivals: often, retries: { max: 2, factor: 0 }, hold: 10s }
",
    );
    let said = [
        "services.web.cpu_per_request: `never` is out of range",
        "services.web.cpu_rises.at: `1` is out of range",
        "services.web.cpu_rises.by: `-5%` is out of range",
        "`services.web.warm_up` lacks `for`",
        "services.web.warm_up.factor: `0.5` is out of range",
        "traffic.web.arrivals: `often` is not a way to arrive",
        "traffic.web.retries.factor: `0` is out of range",
        "a flow has no single requests, which `users` is about",
        "a flow has no single requests, which `hold` is about",
        "`traffic.web` lacks `think`",
    ];
    let missing: Vec<&&str> = said.iter().filter(|line| !text.contains(**line)).collect();
    assert!(missing.is_empty(), "{missing:?} in {text}");
}

#[test]
fn actions_and_faults() {
    let folder = Folder::new("actions");
    folder.write("web.yaml", DEPLOYMENT);
    folder.write("web2.yaml", DEPLOYMENT.replace("100m", "200m"));
    let path = folder.write(
        "s.yaml",
        "manifests: [web.yaml]
services: { web: { cpu_per_request: 10ms } }
actions:
  - { at: 5m, apply: web2.yaml }
  - { at: 1m, scale: { deployment: web, replicas: 7 } }
  - { at: 2m, rollout: { deployment: web, image: web:2 } }
  - { at: 150s, rollout: { deployment: web } }
  - { at: 160s, pause: { deployment: web } }
  - { at: 170s, resume: { deployment: web } }
  - { at: 6m, undo: { deployment: web, to_revision: 1 } }
  - { at: 3m, delete_node: fullest }
  - { at: 4m, set_load: { service: web, rate: 5/s } }
  - { at: 4m, taint_node: { node: all, key: k, effect: NoExecute } }
faults:
  - { at: 5m, for: 1m, slowdown: { service: web, factor: 3 } }
  - { at: 1m, spot_interruption: }
  - { at: 2m, slow_registry: 4 }
  - { at: 3m, for: 10s, pod_calls_fail: create }
",
    );
    let loaded = load(&path, &LoadOptions::default()).unwrap_or_else(|problems| panic!("{problems}"));
    let at: Vec<u64> = loaded.plan.actions.iter().map(|a| a.at.since(loaded.plan.start).whole_seconds()).collect();
    assert_eq!(at, [60, 120, 150, 160, 170, 180, 240, 240, 300, 360]);
    assert_eq!(loaded.plan.faults.len(), 4);
    assert_eq!(loaded.plan.faults[2].kind, FaultKind::PodCallsFail(PodCall::Create));
    let templates = &loaded.plan.templates;
    assert_eq!(templates.len(), 4);
    assert_eq!(templates[1].containers[0].image, "web:2");
    assert!(templates[1].annotations.is_empty(), "kubectl set image stamps nothing");
    assert_eq!(templates[2].containers[0].image, "web:2", "a restart begins with what is there then");
    assert_eq!(templates[3].requests.cpu.0, 200, "what is applied replaces it");
    let keeps = |kind: &ActionKind| matches!(kind, ActionKind::UpdateDeployment { keeps_replicas: true, .. });
    assert!(loaded.plan.actions.iter().any(|action| keeps(&action.kind)), "the manifest says nothing of replicas");
}

#[test]
fn a_metric_that_nothing_exports_is_reported_under_its_real_name() {
    let folder = Folder::new("metrics");
    folder.write("web/web.yaml", DEPLOYMENT);
    let text = "manifests: [web/]\nmetrics: [karpenter_nodes_total, kube_deployment_spec_replicas]\n";
    let loaded = load(&folder.write("s.yaml", text), &LoadOptions::default()).expect("it is fine");
    let names: Vec<&str> = loaded.plan.metrics.iter().map(|metric| metric.name).collect();
    assert_eq!(names, ["karpenter_cluster_state_node_count", "kube_deployment_spec_replicas"]);
    let note = loaded.warnings.iter().find(|warning| warning.code == "N110").expect("it is said");
    assert!(note.message.contains("karpenter_nodes_total") && note.message.contains(names[0]), "{}", note.message);
    let text = folder.problems("manifests: [web/]\nmetrics: [karpenter_nodes_creatd_total, HealthyHostCount]\n");
    assert!(text.contains("did you mean `karpenter_nodes_created_total`?"), "{text}");
    assert!(text.contains("HealthyHostCount is in series.csv for every target group"), "{text}");
}

#[test]
fn an_alarm_that_has_no_data_here_is_told() {
    let folder = Folder::new("alarm");
    folder.write("web/web.yaml", DEPLOYMENT);
    let alarm = |metric: &str, statistic: &str| {
        format!(
            "A{statistic}: {{ Type: 'AWS::CloudWatch::Alarm', Properties: {{ MetricName: {metric}, Namespace: AWS/ApplicationELB, \
             Statistic: {statistic}, EvaluationPeriods: 1, Threshold: 1, ComparisonOperator: GreaterThanThreshold, Dimensions: [] }} }}\n"
        )
    };
    folder.write("web/a.yaml", alarm("UnhealthyHostCount", "Average") + &alarm("TargetResponseTime", "tm99"));
    let loaded = load(&folder.write("s.yaml", "manifests: [web/]\n"), &LoadOptions::default()).expect("it runs");
    let told: Vec<String> =
        loaded.warnings.iter().filter(|warning| warning.code == "W131").map(|w| w.message.clone()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("UnhealthyHostCount has no data here"), "{told:?}");
    assert!(told[1].contains("tm99 of TargetResponseTime is not modelled, Average stands in"), "{told:?}");
    let of_cluster =
        alarm("karpenter_nodes_total", "p90").replace("AWS/ApplicationELB", "ContainerInsights/Prometheus");
    folder.write("web/a.yaml", alarm("TargetResponseTime", "p99") + &of_cluster);
    let loaded = load(&folder.write("s.yaml", "manifests: [web/]\n"), &LoadOptions::default()).expect("it runs");
    assert!(
        loaded.warnings.iter().all(|warning| warning.code != "W131"),
        "percentiles and metrics of the cluster are known"
    );
    let note = loaded.warnings.iter().find(|warning| warning.code == "N110").expect("it is said");
    assert!(
        note.message
            .contains("no version exports karpenter_nodes_total, it watches karpenter_cluster_state_node_count")
    );
}

#[test]
fn external_metrics_and_activations_are_read() {
    let folder = Folder::new("external");
    folder.write("web/web.yaml", DEPLOYMENT);
    let text = "manifests: [web/]\ncontrollers: { external.polling_interval: 20s }\nexternal_metrics:\n  - { name: queue, value: \
                [{ at: 0s, value: 1 }, { at: 5m, value: 400 }], labels: { of: orders }, every: 15s, window: 1m }\nactivations:\n  \
                web: { metric: queue, threshold: 5 }\n";
    let plan = match load(&folder.write("s.yaml", text), &LoadOptions::default()) {
        Ok(loaded) => loaded.plan,
        Err(problems) => panic!("{}", problems.render(false)),
    };
    let [metric] = plan.external_metrics.as_slice() else { panic!("one series") };
    assert_eq!(
        (metric.name.as_str(), metric.every, metric.window),
        ("queue", Span::from_secs(15), Span::from_secs(60))
    );
    assert_eq!((metric.labels.get("of"), metric.value.at(plan.start + Span::from_secs(300))), (Some("orders"), 400.0));
    let [trigger] = plan.activations.as_slice() else { panic!("one trigger") };
    assert_eq!((trigger.threshold, trigger.replicas), (5.0, 1));
    assert_eq!((trigger.poll, trigger.cooldown), (Span::from_secs(20), Span::from_secs(300)));
    let wrong = "manifests: [web/]\nexternal_metrics: [{ name: queue, value: 1, every: 0s }]\nactivations: { web: { metric: qeue } }\n";
    let problems = folder.problems(wrong);
    assert!(problems.contains("did you mean `queue`?") && problems.contains("at least 10ms"), "{problems}");
}

#[test]
fn slow_start_goes_with_round_robin_only() {
    let text = "target_groups: { web: { slow_start: 30s, algorithm: weighted_random } }";
    let shown = Folder::new("slow-start").problems(text);
    assert!(shown.contains("AWS has slow start only with algorithm round_robin"), "{shown}");
    let folder = Folder::new("slow-start-alone");
    let path = folder.write("s.yaml", "target_groups: { web: { slow_start: 30s, stickiness: 1h } }");
    let loaded = load(&path, &LoadOptions::default()).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(render_all(&loaded.warnings, &loaded.sources, false).contains("stickiness is not modelled"));
    let text = "target_groups: { web: { stickiness: { duration: 1h, clients: 500, session: 10m } } }";
    let loaded =
        load(&folder.write("s.yaml", text), &LoadOptions::default()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.plan.target_groups[0].stickiness.map(|sticky| sticky.clients), Some(500));
}

#[test]
fn zero_replicas_need_their_gate() {
    let folder = Folder::new("zero");
    folder.write("web/web.yaml", DEPLOYMENT);
    let hpa = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: { name: web }\nspec:\n  minReplicas: 0\n  \
               maxReplicas: 5\n  scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: web }\n  metrics:\n    - type: \
               External\n      external: { metric: { name: queue }, target: { type: AverageValue, averageValue: 1 } }\n";
    folder.write("web/hpa.yaml", hpa);
    assert!(folder.problems("manifests: [web/]\n").contains("needs the gate HPAScaleToZero"));
    for cluster in ["controllers: { hpa.scale_to_zero: true }", "cluster: { kubernetes: \"1.37\" }"] {
        let path = folder.write("s.yaml", format!("manifests: [web/]\n{cluster}\n"));
        assert!(load(&path, &LoadOptions::default()).is_ok(), "{cluster}");
    }
}

/// A pool that may buy two types, and a node of it.
const POOL: &str = "apiVersion: karpenter.sh/v1
kind: NodePool
metadata: { name: pool }
spec:
  template:
    spec:
      nodeClassRef: { group: karpenter.k8s.aws, kind: EC2NodeClass, name: default }
      requirements:
        - { key: node.kubernetes.io/instance-type, operator: In, values: [t3.medium, t3.large] }
---
apiVersion: karpenter.k8s.aws/v1
kind: EC2NodeClass
metadata: { name: default }
spec:
  amiSelectorTerms: [{ alias: al2023@latest }]
  role: node
  subnetSelectorTerms: [{ tags: { a: b } }]
  securityGroupSelectorTerms: [{ tags: { a: b } }]
";

#[test]
fn a_spot_market_makes_a_pool_for_each_type_and_zone_at_the_rate_of_its_band() {
    let folder = Folder::new("market");
    folder.write("pool.yaml", POOL);
    let text = "manifests: [pool.yaml]\nrun: { noise: on }\ncluster: { zones: [us-east-1a, us-east-1b] }\nspot_market:\n  together: 50%\n  \
                share: 50%\n  shortage: 0%\n  pools: [{ zone: us-east-1b, instance_type: t3.large, lifetime: 1h, \
                on_demand_shortage: 10% }]\n";
    let path = folder.write("s.yaml", text);
    let loaded = load(&path, &LoadOptions::default()).unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    let pools = loaded.plan.capacity_pools.all();
    let names: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
    let spot = ["spot t3.large us-east-1a", "spot t3.large us-east-1b"];
    assert_eq!(names[..2], spot);
    assert_eq!(names[2..], ["on-demand t3.large us-east-1b", "spot t3.medium us-east-1a", "spot t3.medium us-east-1b"]);
    // t3.large: 5 to 10 % a month, the middle 7.5 %: half of it by shocks of which each takes a half, half of it alone.
    let hourly = -(0.925_f64.ln()) / 720.0;
    let mean = |distribution: &crate::plan::Distribution| match distribution {
        crate::plan::Distribution::Exponential { mean } => mean.seconds() / 3600.0,
        other => panic!("{other:?}"),
    };
    assert!((mean(&pools[0].lifetime) * hourly - 1.0).abs() < 1e-6);
    assert!((mean(&pools[0].alone) * hourly / 2.0 - 1.0).abs() < 1e-6);
    assert_eq!(pools[1].lifetime, crate::plan::Distribution::Constant(Span::from_secs(3600)));
    // A tenth of the time, in spells whose mean is 1200 s times gamma(1 + 1/0.8).
    assert!((mean(&pools[2].plenty) * 3600.0 / (9.0 * 1200.0 * 1.133) - 1.0).abs() < 0.01, "{:?}", pools[2].plenty);
}

#[test]
fn mistakes_in_a_spot_market_are_said_together() {
    let folder = Folder::new("market-mistakes");
    folder.write("pool.yaml", POOL);
    let text = folder.problems(
        "manifests: [pool.yaml]\nspot_market:\n  interruptions: often\n  together: 120%\n  sharing: 1\n  shortage: 95%\n  pools:\n    - { \
         shortage: 1% }\n    - { zone: us-east-1x }\n    - { zone: us-east-1a, interruptions: off, lifetime: 1h }\n",
    );
    for said in [
        "the bands of the Spot Instance Advisor are <5%, 5-10%",
        "spot_market.together: `120%` is out of range",
        "`spot_market` has no field `sharing`",
        "spot_market.shortage: `95%` is out of range",
        "spot_market.pools[0]: needs `instance_type`, `zone`, or both",
        "us-east-1x",
        "spot_market.pools[2]: says both `interruptions` and `lifetime`",
    ] {
        assert!(text.contains(said), "{said}\nis missing from\n{text}");
    }
}

/// What `kubectl apply` refuses: fields that nobody knows, at any depth, and a target without a value.
#[test]
fn misspelt_fields_of_manifests_are_errors_and_unknown_ones_warnings() {
    let folder = Folder::new("misspelt-manifests");
    folder.write(
        "all.yaml",
        "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: { name: web }\nspec:\n  \
         scaleTargetRef: { kind: Deployment, name: web }\n  minReplica: 4\n  maxReplicas: 8\n  metrics:\n    - { \
         type: Resource, resource: { name: cpu, target: { type: Utilization, averageUtilisation: 60 } } }\n---\napiVersion: \
         karpenter.sh/v1\nkind: NodePool\nmetadata: { name: general }\nspec:\n  disruption: { consolidateAftr: 30s, flavour: sweet }\n  \
         template: { spec: { nodeClassRef: { group: karpenter.k8s.aws, kind: EC2NodeClass, name: x }, \
         requirements: [{ key: karpenter.k8s.aws/instance-familly, operator: In, values: [m5] }] } }\n",
    );
    let text = folder.problems("manifests: [all.yaml]\n");
    for said in [
        "HorizontalPodAutoscaler has no field `minReplica` here",
        "did you mean `minReplicas`?",
        "did you mean `averageUtilization`?",
        "did you mean `consolidateAfter`?",
        "warning[W116]: NodePool has no field `flavour` here",
        "did you mean `karpenter.k8s.aws/instance-family`?",
    ] {
        assert!(text.contains(said), "{said}\nis missing from\n{text}");
    }
    assert!(!text.contains("needs `averageUtilization`"), "it has one, misspelt\n{text}");
}

#[test]
fn a_service_that_selects_nothing_is_warned_of() {
    let folder = Folder::new("lonely-service");
    folder.write("app.yaml", format!("{DEPLOYMENT}---\n{LONELY}"));
    let path = folder.write("s.yaml", "manifests: [app.yaml]\n");
    let warnings = load(&path, &LoadOptions::default()).expect("it is legal").render_warnings(false);
    assert!(warnings.contains("W132") && warnings.contains("Service web selects no pod"), "{warnings}");
    let at_label = " ".repeat("spec: { selector: { app: ".len()) + "^^^ it selects nothing";
    assert!(warnings.contains(&format!("| {at_label}\n")), "the label is pointed at: {warnings}");
}

/// A Deployment that says three with an autoscaler of four really is scaled up at the start; one that says nothing, or an autoscaler
/// that is set to four for a study, is a cluster that stands at four.
#[test]
fn workloads_begin_where_their_autoscaler_keeps_them() {
    let folder = Folder::new("standing");
    let hpa = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: { name: web }\nspec: { minReplicas: 4, \
               maxReplicas: 9, scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: web } }\n";
    let begin = |said: &str, services: &str, set: &[(&str, &str)]| {
        folder.write("app.yaml", format!("{}---\n{hpa}", DEPLOYMENT.replacen("spec:\n", &format!("spec:\n{said}"), 1)));
        let path = folder.write("s.yaml", format!("manifests: [app.yaml]\n{services}"));
        let set = set.iter().map(|(field, value)| vary::Setting { field: field.to_string(), value: value.to_string() });
        let loaded = load(&path, &LoadOptions { set: set.collect(), ..LoadOptions::default() });
        let loaded = loaded.unwrap_or_else(|problems| panic!("{}", problems.render(false)));
        (loaded.plan.deployments[0].replicas, loaded.warnings.iter().any(|one| one.code == "N111"))
    };
    let (three, min) = ("  replicas: 3\n", "HorizontalPodAutoscaler/web.spec.minReplicas");
    assert_eq!(begin(three, "", &[]), (3, true), "the manifests say so");
    assert_eq!(begin("", "", &[]), (4, false), "left to the autoscaler");
    assert_eq!(begin("  replicas: 0\n", "", &[]), (0, false), "the autoscaler is off");
    assert_eq!(begin(three, "", &[(min, "5")]), (5, false), "what if it were five");
    assert_eq!(begin(three, "", &[(min, "2")]), (3, false));
    assert_eq!(begin(three, "", &[(min, "5"), ("Deployment/web.spec.replicas", "1")]), (1, false), "asked for");
    assert_eq!(begin("", "services: { web: { replicas: 2 } }\n", &[]), (2, true), "the scenario says so");
}

/// Versions that nobody knows, manifests that a version does not have, memory that a cluster would not let a pod have, and minutes
/// for milliseconds.
#[test]
fn what_a_cluster_would_not_do_is_warned_of() {
    let folder = Folder::new("would-not");
    folder.write("web.yaml", DEPLOYMENT.replace("{ cpu: 100m }", "{ cpu: 100m }, limits: { memory: 1Gi }"));
    let warnings = |text: &str| {
        let path = folder.write("s.yaml", format!("manifests: [web.yaml]\n{text}"));
        load(&path, &LoadOptions::default())
            .unwrap_or_else(|problems| panic!("{}", problems.render(false)))
            .render_warnings(false)
    };
    for (cluster, said) in [
        ("kubernetes: \"1.43\"", Some("known are 1.27 to 1.37")),
        ("kubernetes: 1.30", None),
        ("karpenter: \"2.9\"", Some("known are 0.32 to 0.37 and 1.0 to 1.14")),
        ("karpenter: v1.2.0", None),
        ("load_balancer_controller: 4.1", Some("cluster.load_balancer_controller: 4.1 is not known here")),
    ] {
        let text = warnings(&format!("cluster: {{ {cluster} }}\n"));
        assert!(said.map_or(!text.contains("W144"), |said| text.contains(said)), "{cluster}\n{text}");
    }
    let work = |service: &str| {
        warnings(&format!("services: {{ web: {{ {service} }} }}\ntraffic: {{ web: 5/s }}\nrun: {{ until: 1m }}\n"))
    };
    let text = work("cpu_per_request: 50m, memory: 2Gi");
    assert!(text.contains("W163") && text.contains("above the memory limit of the container, 1024Mi"), "{text}");
    assert!(text.contains("W164") && text.contains("did you mean `50ms`?"), "{text}");
    let text = work("cpu_per_request: 50ms, memory: 1Gi");
    assert!(!text.contains("W163") && !text.contains("W164"), "{text}");
}

#[test]
fn a_budget_that_selects_nothing_is_warned_of() {
    let folder = Folder::new("lonely-budget");
    let budget = "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: { name: web }\nspec: { maxUnavailable: 0, \
                  selector: { matchLabels: { app: wbe } } }\n";
    folder.write("app.yaml", format!("{DEPLOYMENT}---\n{budget}"));
    let path = folder.write("s.yaml", "manifests: [app.yaml]\n");
    let warnings = load(&path, &LoadOptions::default()).expect("it is legal").render_warnings(false);
    assert!(warnings.contains("W142") && warnings.contains("did you mean `app: web`?"), "{warnings}");
    let at_label =
        " ".repeat("spec: { maxUnavailable: 0, selector: { matchLabels: { app: ".len()) + "^^^ it protects nothing";
    assert!(warnings.contains(&format!("| {at_label}\n")), "the label is pointed at: {warnings}");
}

/// The kubelet looks for the name in the probed container alone; a number may be written as a text.
#[test]
fn a_probe_on_a_port_that_its_container_lacks_is_warned_of() {
    let folder = Folder::new("probe-port");
    let warnings = |port: &str| {
        let container = format!(
            "ports: [{{ name: http, containerPort: 80 }}], readinessProbe: {{ httpGet: {{ path: /, port: {port} }} }}, resources"
        );
        folder.write("app.yaml", DEPLOYMENT.replacen("resources", &container, 1));
        let path = folder.write("s.yaml", "manifests: [app.yaml]\n");
        let loaded =
            load(&path, &LoadOptions::default()).unwrap_or_else(|problems| panic!("{}", problems.render(false)));
        loaded.render_warnings(false)
    };
    let wrong = warnings("htpp");
    assert!(wrong.contains("W141") && wrong.contains("did you mean `http`?"), "{wrong}");
    assert!(["http", "80", "'80'"].into_iter().all(|port| !warnings(port).contains("W141")));
}

const LONELY: &str =
    "apiVersion: v1\nkind: Service\nmetadata: { name: web }\nspec: { selector: { app: wbe }, ports: [{ port: 80 }] }\n";

/// What a Service that selects nothing leaves empty is what clients meet: AWS answers with 503. Not so where another Service
/// leads to the pods.
#[test]
fn clients_of_a_lonely_service_meet_its_empty_target_group() {
    let folder = Folder::new("lonely-group");
    let binding = "apiVersion: elbv2.k8s.aws/v1beta1\nkind: TargetGroupBinding\nmetadata: { name: front }\nspec: { serviceRef: { \
                   name: web, port: 80 }, targetGroupARN: front }\n";
    let second = LONELY.replace("name: web", "name: inner").replace("wbe", "web");
    let scenario = "manifests: [app.yaml]\ntarget_groups: { front: {} }\nservices: { web: { cpu_per_request: 10ms } }\n\
                    traffic: { web: 5/s }\nrun: { until: 1m }\n";
    for (manifests, group) in
        [(format!("{DEPLOYMENT}---\n{LONELY}---\n{binding}"), Some(TargetGroupId::at(0))), (second, None)]
    {
        let all = if group.is_some() {
            manifests
        } else {
            format!("{DEPLOYMENT}---\n{LONELY}---\n{binding}---\n{manifests}")
        };
        folder.write("app.yaml", all);
        let path = folder.write("s.yaml", scenario);
        let loaded =
            load(&path, &LoadOptions::default()).unwrap_or_else(|problems| panic!("{}", problems.render(false)));
        assert_eq!(loaded.plan.apps[0].target_group, group);
    }
}

/// What the API server takes, but no run could hold.
#[test]
fn an_autoscaler_without_bounds_is_refused() {
    let folder = Folder::new("unbounded");
    for (least, most, field) in [(20_000, 30_000, "minReplicas"), (2, i32::MAX, "maxReplicas")] {
        let hpa = format!(
            "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{ name: web }}\nspec: {{ minReplicas: {least}, \
             maxReplicas: {most}, scaleTargetRef: {{ apiVersion: apps/v1, kind: Deployment, name: web }} }}\n"
        );
        folder.write("app.yaml", format!("{DEPLOYMENT}---\n{hpa}"));
        let path = folder.write("s.yaml", "manifests: [app.yaml]\n");
        let problems = load(&path, &LoadOptions::default()).expect_err("too many").render(false);
        assert!(problems.contains("E015") && problems.contains(&format!("no run goes beyond {field}")), "{problems}");
    }
}

#[test]
fn what_says_a_thing_twice_is_told() {
    let folder = Folder::new("twice");
    folder.write("app.yaml", DEPLOYMENT);
    let load_of = |text: &str| {
        let path = folder.write("s.yaml", format!("manifests: [app.yaml]\n{text}run: {{ until: 9m }}\n"));
        match load(&path, &LoadOptions::default()) {
            Ok(loaded) => render_all(&loaded.warnings, &loaded.sources, false),
            Err(problems) => problems.render(false),
        }
    };
    let service = "services: { web: { cpu_per_request: 10ms } }\n";
    let both = load_of(&format!("{service}traffic: {{ web: 5/s }}\nload: {{ web: 1 }}\n"));
    assert!(both.contains("W165") && both.contains("no request counts besides"), "{both}");
    let names = load_of("services: { default/web: { cpu_per_request: 10ms } }\ntraffic: { web: 5/s }\n");
    assert!(names.contains("E021") && names.contains("write `default/web` in all sections"), "{names}");
    let fault = load_of(&format!(
        "{service}traffic: {{ web: 5/s }}\nfaults: [{{ at: 1m, for: 1m, until: 3m, slowdown: {{ service: web, factor: 2 }} }}]\n"
    ));
    assert!(fault.contains("E018") && fault.contains("either `for` or `until`"), "{fault}");
    let cores = load_of(&format!(
        "{service}traffic: {{ web: 5/s }}\nactions: [{{ at: 1m, set_load: {{ service: web, cores: 2 }} }}]\n"
    ));
    assert!(cores.contains("E018") && cores.contains("has no `load`"), "{cores}");
}

#[test]
fn a_stage_is_named_with_its_dots_or_nested_as_a_setting_from_outside_leaves_it() {
    let folder = Folder::new("stages");
    folder.write("web.yaml", DEPLOYMENT);
    let base = "name: s\nmanifests: [web.yaml]\nrun: { until: 1m }\n";
    let path = folder.write("s.yaml", base);
    let setting = vary::Setting { field: "timings.instance.boot".to_string(), value: "20s".to_string() };
    let options = LoadOptions { set: vec![setting], ..LoadOptions::default() };
    let set = load(&path, &options).unwrap_or_else(|problems| panic!("{}", problems.render(false))).plan;
    assert_eq!(set.timings.median(Stage::InstanceBoot), Span::from_secs(20));
    let path = folder.write("s.yaml", format!("{base}timings: {{ instance: {{ boot: 20s }} }}\n"));
    let nested = load(&path, &LoadOptions::default()).unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    assert_eq!(nested.plan.timings.median(Stage::InstanceBoot), Span::from_secs(20));
    let text = folder.problems(&format!("{base}timings: {{ instance: {{ bot: 20s }} }}\n"));
    assert!(text.contains("no stage `instance.bot`") && text.contains("instance.boot"), "{text}");
}

#[test]
fn a_target_group_that_no_binding_fills_is_warned_of() {
    let folder = Folder::new("unbound");
    folder.write("web.yaml", DEPLOYMENT);
    let path = folder.write(
        "s.yaml",
        "name: s\nmanifests: [web.yaml]\ntarget_groups: { web: {} }\nservices: { web: { cpu_per_request: 10ms, target_group: web } }\n\
         traffic: { web: 5/s }\nrun: { until: 1m }\n",
    );
    let loaded = load(&path, &LoadOptions::default()).unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    let text = render_all(&loaded.warnings, &loaded.sources, false);
    assert!(text.contains("W161") && text.contains("no TargetGroupBinding fills"), "{text}");
    assert!(!text.contains("W162"), "a service names it\n{text}");
    let path = folder.write(
        "t.yaml",
        "manifests: [web.yaml]\ntarget_groups: { web: {}, wbe: {} }\nservices: { web: { cpu_per_request: 10ms, target_group: web } }\n\
         traffic: { web: 5/s }\nrun: { until: 1m }\n",
    );
    let loaded = load(&path, &LoadOptions::default()).unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    let text = render_all(&loaded.warnings, &loaded.sources, false);
    assert!(text.contains("W162") && text.contains("did you mean `web`, which is here as well?"), "{text}");
}
