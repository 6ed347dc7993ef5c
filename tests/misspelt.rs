//! What manifests ask for and nothing can meet is warned of; what an API server refuses is an error.

use kubelapse::scenario::{LoadOptions, load, study};
use kubelapse::study::what_if;

const APP: &str = "apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      nodeSelector: { topology.kubernetes.io/zone: us-east-1a }
      topologySpreadConstraints:
        - { maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule }
        - { maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway }
        - { maxSkew: 1, topologyKey: example.com/rack, whenUnsatisfiable: ScheduleAnyway }
      containers: [{ name: web, image: web, ports: [{ name: http, containerPort: 8080 }] }]
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { selector: { app: web }, ports: [{ port: 80, targetPort: http }] }
---
apiVersion: elbv2.k8s.aws/v1beta1
kind: TargetGroupBinding
metadata: { name: web }
spec: { targetGroupName: web, serviceRef: { name: web, port: 80 } }
---
apiVersion: apps/v1
kind: DaemonSet
metadata: { name: agent }
spec:
  selector: { matchLabels: { app: agent } }
  template:
    metadata: { labels: { app: agent } }
    spec: { containers: [{ name: agent, image: agent }] }
---
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: { name: general }
spec:
  template:
    metadata: { labels: { example.com/rack: a } }
    spec:
      nodeClassRef: { group: karpenter.k8s.aws, kind: EC2NodeClass, name: general }
      requirements:
        - { key: node.kubernetes.io/instance-type, operator: In, values: [m5.large, c5.large] }
        - { key: karpenter.sh/capacity-type, operator: In, values: [spot, on-demand] }
---
apiVersion: karpenter.k8s.aws/v1
kind: EC2NodeClass
metadata: { name: general }
spec:
  amiSelectorTerms: [{ alias: al2023@latest }]
  role: node
  subnetSelectorTerms: [{ tags: { a: b } }]
  securityGroupSelectorTerms: [{ tags: { a: b } }]
";

/// All that is said of the manifests with that text instead of another.
fn said(test: &str, from: &str, to: &str) -> String {
    assert!(APP.contains(from), "{from}");
    said_of(test, &APP.replacen(from, to, 1))
}

/// All that is said of these manifests.
fn said_of(test: &str, manifests: &str) -> String {
    let folder =
        std::env::temp_dir().join(format!("kubelapse-misspelt-{test}-{}", std::process::id())).join("scenarios");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("app.yaml"), manifests).unwrap();
    let scenario = "manifests: [app.yaml]\ncluster: { region: us-east-1, zones: [us-east-1a, us-east-1b] }\ntarget_groups: { web: }\n";
    std::fs::write(folder.join("s.yaml"), scenario).unwrap();
    let text = match load(&folder.join("s.yaml"), &LoadOptions::default()) {
        Ok(loaded) => loaded.render_warnings(false),
        Err(problems) => problems.render(false),
    };
    std::fs::remove_dir_all(folder.parent().unwrap()).unwrap();
    text
}

#[test]
fn values_and_names_that_nothing_has_are_warned_of() {
    let whole = said("none", "a", "a");
    for code in ["W134", "W135", "W136", "W137", "W143", "error"] {
        assert!(!whole.contains(code), "{whole}");
    }
    let cases = [
        (
            "topologyKey: topology.kubernetes.io/zone",
            "topologyKey: topology.kubernetes.io/zon",
            "W134",
            "`topology.kubernetes.io/zone`?",
        ),
        (
            "topologyKey: example.com/rack",
            "topologyKey: example.com/room",
            "W134",
            "no node can have the label `example.com/room`",
        ),
        ("zone: us-east-1a", "zone: us-east-1e", "W135", "did you mean `us-east-1"),
        ("[m5.large, c5.large]", "[m5.lage, c5.large]", "W135", "did you mean `m5.large`?"),
        ("[m5.large, c5.large]", "[x5.lagre]", "W135", "so no node can meet it"),
        ("[spot, on-demand]", "[Spot, on-demand]", "W135", "did you mean `spot`?"),
        ("nodeSelector: {", "nodeSelector: { example.com/rack: aa,", "W143", "did you mean `a`?"),
        ("nodeSelector: {", "nodeSelector: { example.com/rck: a,", "W143", "did you mean `example.com/rack`?"),
        ("nodeSelector: {", "nodeSelector: { karpenter.sh/nodepool: genral,", "W143", "did you mean `general`?"),
        ("nodeSelector: {", "nodeSelector: { disk: ssd,", "W143", "give it to a NodePool"),
        (
            "nodeSelector: {",
            "nodeSelector: { karpenter.sh/capacity-typ: spot,",
            "W143",
            "did you mean `karpenter.sh/capacity-type`?",
        ),
        ("targetPort: http", "targetPort: htp", "W136", "did you mean `http`?"),
        ("{ name: web, port: 80 }", "{ name: web, port: 8080 }", "W137", "Service web has no port 8080"),
    ];
    for (from, to, code, words) in cases {
        let text = said("warned", from, to);
        assert!(text.contains(code) && text.contains(words), "{to}: {code} {words}\n{text}");
        assert!(!text.contains("error["), "{to} is legal\n{text}");
    }
}

#[test]
fn a_karpenter_that_has_no_v1_is_warned_of() {
    let folder = std::env::temp_dir().join(format!("kubelapse-version-{}", std::process::id())).join("scenarios");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("app.yaml"), APP).unwrap();
    let said = |version: &str| {
        let scenario =
            format!("manifests: [app.yaml]\ncluster: {{ karpenter: \"{version}\" }}\ntarget_groups: {{ web: }}\n");
        std::fs::write(folder.join("s.yaml"), scenario).unwrap();
        load(&folder.join("s.yaml"), &LoadOptions::default()).expect("it is legal").render_warnings(false)
    };
    let (old, new) = (said("0.37"), said("1.0"));
    assert!(old.contains("W145") && old.contains("NodePool general: Karpenter 0.37 has no karpenter.sh/v1"), "{old}");
    assert!(!new.contains("W145"), "{new}");
    std::fs::remove_dir_all(folder.parent().unwrap()).unwrap();
}

/// Each of these the API server refuses.
#[test]
fn what_an_api_requires_must_be_there() {
    let cases = [
        ("  selector: { matchLabels: { app: web } }\n", "", "lacks `selector`"),
        ("  selector: { matchLabels: { app: agent } }\n", "", "DaemonSet: spec.selector is required"),
        ("group: karpenter.k8s.aws, ", "", "spec.template.spec.nodeClassRef.group is required"),
        ("  subnetSelectorTerms: [{ tags: { a: b } }]\n", "", "spec.subnetSelectorTerms is required"),
        (
            "securityGroupSelectorTerms: [{ tags: { a: b } }]",
            "securityGroupSelectorTerms: []",
            "needs at least one term",
        ),
        ("  amiSelectorTerms: [{ alias: al2023@latest }]\n", "", "spec.amiSelectorTerms is required"),
        ("  role: node\n", "", "needs one of role and instanceProfile"),
        ("targetGroupName: web, ", "", "needs targetGroupARN or targetGroupName"),
        ("serviceRef: { name: web, port: 80 }", "", "lacks `serviceRef`"),
    ];
    for (from, to, words) in cases {
        let text = said("required", from, to);
        assert!(text.contains("error[E011]") && text.contains(words), "{from}: {words}\n{text}");
    }
}

/// What is wrong with a value is said at the value, not at the name of the object that holds it.
#[test]
fn a_wrong_value_is_pointed_at() {
    const MORE: &str = "---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: { name: web }
spec:
  minReplicas: 1
  scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: web }
  maxReplicas: 5
";
    let cases = [
        ("E016", "Deployment, name: web", "Deployment, name: wbe", "wbe"),
        ("E016", "EC2NodeClass, name: general", "EC2NodeClass, name: genral", "genral"),
        ("E016", "serviceRef: { name: web", "serviceRef: { name: wob", "wob"),
        ("E016", "containers: [{ name: web,", "priorityClassName: hihg\n      containers: [{ name: web,", "hihg"),
        ("E015", "minReplicas: 1", "minReplicas: 0", "0"),
        ("E015", "minReplicas: 1", "minReplicas: 7", "7"),
        ("E015", "image: web,", "image: web, resources: { requests: { cpu: 3 }, limits: { cpu: 2 } },", "3"),
        ("W134", "topologyKey: example.com/rack", "topologyKey: example.com/room", "example.com/room"),
        ("W135", "zone: us-east-1a", "zone: us-east-1e", "us-east-1e"),
        ("W135", "[m5.large, c5.large]", "[m5.large, c5.lagre]", "c5.lagre"),
        ("W136", "targetPort: http", "targetPort: htp", "htp"),
        ("W137", "{ name: web, port: 80 }", "{ name: web, port: 8080 }", "8080"),
    ];
    for (code, from, to, value) in cases {
        let whole = format!("{APP}{MORE}");
        assert!(whole.contains(from), "{from}");
        let manifests = whole.replacen(from, to, 1);
        let text = said_of("value", &manifests);
        let block = text.split("\n\n").find(|block| block.contains(&format!("[{code}]")));
        let block = block.unwrap_or_else(|| panic!("{code} is not said of {to}\n{text}"));
        let place = block.split("app.yaml:").nth(1).and_then(|rest| rest.lines().next()).expect("a place");
        let (line, column) = place.split_once(':').expect("line and column");
        let (line, column): (usize, usize) = (line.parse().unwrap(), column.parse().unwrap());
        let at: String = manifests.lines().nth(line - 1).unwrap().chars().skip(column - 1).collect();
        assert!(at.starts_with(value), "{code} of {to} points at `{at}`\n{text}");
    }
}

/// A key that is misspelt is one mistake: it is not also told as missing.
#[test]
fn a_misspelt_required_key_is_told_once() {
    for (from, to) in [
        ("  selector: { matchLabels: { app: agent } }", "  selectr: { matchLabels: { app: agent } }"),
        ("{ name: general }\nspec:\n  template:", "{ name: general }\nspec:\n  tempalte:"),
        ("serviceRef: {", "serviceRfe: {"),
    ] {
        let text = said("once", from, to);
        assert_eq!(text.matches("error[").count(), 1, "{to}\n{text}");
        assert!(
            text.contains("error[E010]") && text.contains("did you mean") && text.ends_with("\n1 error\n"),
            "{text}"
        );
    }
}

/// All that is said of a scenario and its manifest, `app.yaml`.
fn said_of_scenario(test: &str, scenario: &str, manifest: &str) -> String {
    let folder =
        std::env::temp_dir().join(format!("kubelapse-misspelt-{test}-{}", std::process::id())).join("scenarios");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("app.yaml"), manifest).unwrap();
    std::fs::write(folder.join("s.yaml"), scenario).unwrap();
    let text = match load(&folder.join("s.yaml"), &LoadOptions::default()) {
        Ok(loaded) => loaded.render_warnings(false),
        Err(problems) => problems.render(false),
    };
    std::fs::remove_dir_all(folder.parent().unwrap()).unwrap();
    text
}

const SMALL: &str = "apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec: { containers: [{ name: web, resources: { requests: { cpu: 100m } } }] }
";

/// What the manifests that were not found would have held is not missed.
#[test]
fn of_objects_in_a_misspelt_folder_nothing_is_said() {
    let scenario = "manifests: [aps/]\ncluster:\n  region: us-east-1\n  zones: [us-east-1a]\n  nodes:\n    - { node_pool: web, \
                    instance_type: m5.large, zone: us-east-1a }\nexpect: [time_to_serve of deployment web <= 3m]\n";
    let text = said_of_scenario("folder", scenario, SMALL);
    assert!(text.contains("E001") && text.contains("1 error\n") && !text.contains("E016"), "{text}");
}

/// Below a misspelt key, kind, name or path are further mistakes: all are told at once, and nothing that only follows.
#[test]
fn what_stands_below_a_misspelt_name_is_told_in_the_same_pass() {
    let scenario = "manifests: [ap.yaml]
clster: { nods: [{ instance_type: m5.lage, count: many }] }
services: { wbe: { cpu_per_request: 100ms, wrkers: 2 } }
traffic: { web: [{ rate: 8/s, at: soon }] }
";
    let manifest = SMALL.replace("kind: Deployment", "kind: Deploymnet").replace("100m ", "100q ");
    let text = said_of_scenario("below", scenario, &manifest);
    for said in [
        "did you mean `app.yaml`?",
        "did you mean `cluster`?",
        "did you mean `nodes`?",
        "did you mean `m5.large`?",
        "cluster.nodes[0].count: expected a whole number, found `many`",
        "did you mean `web`?",
        "did you mean `workers`?",
        "traffic.web[0].at: `soon` is not a duration",
        "did you mean `Deployment`?",
        "`100q` is not a quantity",
    ] {
        assert!(text.contains(said), "{said}\nis missing from\n{text}");
    }
    assert!(text.ends_with("\n10 errors\n"), "{text}");
}

/// A name that could be either of two stays as it is: nothing below it is sure. One that is nothing's is looked through.
#[test]
fn what_is_said_of_a_deployment_that_is_not_there_is_looked_through() {
    let two = format!("{SMALL}---\n{}", SMALL.replace("web", "wed"));
    let scenario = "manifests: [app.yaml]
services: { wex: { workers: no } }
traffic: { other: { curve: 8, mod: fluid } }
";
    let text = said_of_scenario("through", scenario, &two);
    for said in ["services.wex.workers: expected a whole number", "`8` is not a rate", "did you mean `mode`?"] {
        assert!(text.contains(said), "{said}\nis missing from\n{text}");
    }
    assert!(text.ends_with("\n5 errors\n"), "{text}");
}

/// Of a manifest that cannot be read nobody knows what it holds.
#[test]
fn what_a_broken_manifest_would_hold_is_not_said_to_be_missing() {
    let scenario = "manifests: [app.yaml]\nservices: { web: { cpu_per_request: 100ms } }\nload: { web: 1 }\n";
    let text = said_of_scenario("unread", scenario, &SMALL.replace("web } }", "web }"));
    assert!(text.contains("error[E005]") && text.ends_with("\n1 error\n"), "{text}");
}

/// What is left open is shown where it begins, not behind the end of the file.
#[test]
fn a_bracket_that_is_never_closed_is_shown() {
    let said = |rest: &str| said_of_scenario("open", &format!("manifests: [app.yaml]\n{rest}"), SMALL);
    let text = said("services: { web: { workers: 4 }\n");
    assert!(text.contains("this `{` is never closed") && text.contains("s.yaml:2:11"), "{text}");
    assert!(text.contains("services: { web: { workers: 4 }") && text.contains("`}` is missing"), "{text}");
    let text = said("services: { web: { workers: 4 }\ntraffic: { web: 5/s }\nrun: [\n\n");
    assert!(text.contains("at line 2, column 11 is still open here: is its `}` missing?"), "{text}");
    let text = said("expect: [lost_requests == 0\n\n\n");
    assert!(text.contains("this `[` is never closed") && text.contains("s.yaml:2:9"), "{text}");
    let text = said("about: \"no end\n");
    assert!(text.contains("s.yaml:2:") && text.contains("about: \"no end"), "{text}");
}

/// AWS has no such region: warned of, since a made-up one with prices and zones of its own is fine. A zone of another region is
/// warned of too, and one that is nobody's is not.
#[test]
fn a_region_that_aws_does_not_have_is_warned_of() {
    let said = |cluster: &str| said_of_scenario("region", &format!("cluster: {cluster}\n"), "");
    let text = said("{ region: eu-wst-1 }");
    assert!(
        text.contains("error[E016]") && text.contains("did you mean `eu-west-1`?"),
        "nobody has said its zones\n{text}"
    );
    let text = said("{ region: eu-wst-1, nodes: [{ instance_type: m5.large, zone: eu-west-1a }] }");
    assert!(text.ends_with("\n1 error\n"), "{text}");
    let text = said("{ region: eu-wst-1, zones: [eu-wst-1a] }");
    assert!(text.contains("warning[W138]") && text.contains("did you mean `eu-west-1`?"), "{text}");
    let text = said("{ region: lab, zones: [lab-a, rack-2], price_factor: 2 }");
    assert!(text.contains("warning[W138]") && !text.contains("W139") && !text.contains("did you"), "{text}");
    let text = said("{ zones: [eu-west-1a, us-east-1b] }");
    assert!(text.contains("is of region eu-west-1, and `region` is us-east-1, the default"), "{text}");
    assert_eq!(text.matches("W139").count(), 1, "{text}");
    let text = said("{ zones: [us-eats-1a] }");
    assert!(text.contains("warning[W139]") && text.contains("did you mean `us-east-1a`?"), "{text}");
    assert_eq!(said("{ region: us-east-1, zones: [us-east-1-bos-1a, us-east-1a] }"), "");
}

/// Estimates of spot prices are told where the pool is written, and not of a pool that buys none.
#[test]
fn spot_prices_are_spoken_of_where_spot_is_bought() {
    let m5 = "values: [m5.large, c5.large]";
    let newer = "values: [m8i.large, c8i.large, m8gd.large]";
    let text = said("spot", m5, newer);
    let line = APP.lines().position(|line| line == "metadata: { name: general }").expect("the pool") + 1;
    assert!(text.contains("note[N105]") && text.contains(&format!("app.yaml:{line}:")), "{text}");
    let manifests = APP.replacen(m5, newer, 1).replace("values: [spot, on-demand]", "values: [on-demand]");
    assert!(!said_of("no-spot", &manifests).contains("N105"));
}

/// A rate without its unit may be meant a second or a minute.
#[test]
fn a_rate_has_a_unit() {
    let scenario = "manifests: [app.yaml]\nservices: { web: { cpu_per_request: 1ms } }
traffic: { web: [{ rate: 0 }, { at: 1m, rate: 20 }] }\n";
    let text = said_of_scenario("rate", scenario, SMALL);
    assert!(text.contains("write 20/s for so many a second") && text.ends_with("\n1 error\n"), "{text}");
}

/// A study is called one, and what is wrong with it, its base and each of its values is told in one pass.
#[test]
fn all_that_is_wrong_with_a_study_is_told_at_once() {
    let folder = std::env::temp_dir().join(format!("kubelapse-misspelt-study-{}", std::process::id()));
    let write = |name: &str, text: &str| {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
        folder.join(name)
    };
    write("app.yaml", SMALL);
    write("base.yaml", "manifests: [app.yaml]\nload: { wbe: 1 }\n");
    let wrong = "base: bse.yaml\nvray: [{ feld: run.until, values: [10m, 20m] }]\nhold: [p95(time_to_srve) <= 3m]\ncolour: red\n";
    let text = study::load(&write("study.yaml", wrong), None).expect_err("it is wrong").render(false);
    for said in [
        "did you mean `base.yaml`?",
        "a study has no field `vray`",
        "did you mean `field`?",
        "`time_to_srve` is not a measure",
        "a study has no field `colour`",
        "did you mean `web`?",
    ] {
        assert!(text.contains(said), "{said}\nis missing from\n{text}");
    }
    assert!(text.ends_with("\n6 errors\n"), "{text}");
    write("base.yaml", "manifests: [app.yaml]\n");
    let values = "base: base.yaml
vary:
  - { field: timings.image.pull, values: [4s, 5] }
  - { field: Deployment/web.spec.replicas, values: [x, y] }
  - { field: 'Deployment/web.spec.replica', from: 1, to: 3, step: 1 }
hold: [p95(time_to_serve) <= 3m]
";
    let read = study::load(&write("study.yaml", values), None).expect("it is a study");
    let text = match what_if::prepare(read, None, &LoadOptions::default()) {
        Ok(_) => panic!("three of four values and a field are wrong"),
        Err(problems) => problems.render(false),
    };
    std::fs::remove_dir_all(&folder).unwrap();
    // Each once, at its place in the study.
    let places = ["study.yaml:3:47\n", "study.yaml:4:53\n", "study.yaml:4:56\n", "study.yaml:5:35\n"];
    for said in
        ["write 5s for seconds", "found `x`", "found `y`", "no field `replica`", "4 errors"].into_iter().chain(places)
    {
        assert_eq!(text.matches(said).count(), 1, "{said}\n{text}");
    }
}

/// The grace period is for the hook and the end of the process together.
#[test]
fn a_hook_that_takes_the_whole_grace_period_is_warned_of() {
    let hook = |seconds: u32| format!("lifecycle: {{ preStop: {{ exec: {{ command: [sleep, '{seconds}'] }} }} }}");
    let manifests = |seconds| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: web }}\nspec:\n  selector: {{ matchLabels: {{ app: web }} }}\n  \
             template:\n    metadata: {{ labels: {{ app: web }} }}\n    spec: {{ containers: [{{ name: c, {} }}] }}\n",
            hook(seconds)
        )
    };
    let long = said_of("long-hook", &manifests(30));
    assert!(long.contains("W166") && long.contains("sleeps 30 s, and it is killed 30 s after"), "{long}");
    assert!(!said_of("short-hook", &manifests(29)).contains("W166"));
    let unit = manifests(30).replace("spec: { containers", "spec: { terminationGracePeriodSeconds: 45s, containers");
    let text = said_of("grace-with-unit", &unit);
    assert!(text.contains("write it as seconds, without a unit: 45") && !text.contains("W166"), "{text}");
}

/// An autoscaler that can read nothing is as silent in a cluster: a condition says it, and nobody looks.
#[test]
fn metrics_that_an_autoscaler_can_never_read_are_warned_of() {
    let resource = |rest: &str| {
        format!("type: Resource, resource: {{ {rest}, target: {{ type: Utilization, averageUtilization: 70 }} }}")
    };
    let of_container = |container: &str| {
        let target = "target: { type: Utilization, averageUtilization: 70 }";
        format!("type: ContainerResource, containerResource: {{ name: cpu, container: {container}, {target} }}")
    };
    let average = "target: { type: AverageValue, averageValue: 10 }";
    let scenario = "manifests: [app.yaml]\nexternal_metrics: [{ name: queue_length, value: 5 }]\n";
    let said = |test: &str, metric: &str, scenario: &str, requests: &str| {
        let hpa = format!(
            "---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{ name: web }}\nspec:\n  maxReplicas: 5\n  \
             scaleTargetRef: {{ apiVersion: apps/v1, kind: Deployment, name: web }}\n  metrics: [{{ {metric} }}]\n"
        );
        said_of_scenario(test, scenario, &format!("{}{hpa}", SMALL.replace("{ cpu: 100m }", requests)))
    };
    let (cpu, none) = ("{ cpu: 100m, memory: 64Mi }", "{ memory: 64Mi }");
    let fails = [
        (resource("name: cpu"), none, "container web has no request for it"),
        (resource("name: nvidia.com/gpu"), cpu, "metrics-server does not serve"),
        (of_container("wbe"), cpu, "did you mean `web`?"),
        (of_container("web"), none, "FailedGetContainerResourceMetric"),
        (format!("type: Pods, pods: {{ metric: {{ name: rps }}, {average} }}"), cpu, "FailedGetPodsMetric"),
        (
            format!("type: External, external: {{ metric: {{ name: queue_lenght }}, {average} }}"),
            cpu,
            "did you mean `queue_length`?",
        ),
    ];
    for (number, (metric, requests, expected)) in fails.iter().enumerate() {
        let text = said(&format!("unread-{number}"), metric, scenario, requests);
        assert!(text.contains("W167") && text.contains(expected), "{metric}: {expected}\n{text}");
    }
    let value = format!("type: Resource, resource: {{ name: cpu, {average} }}");
    let external = format!("type: External, external: {{ metric: {{ name: queue_length }}, {average} }}");
    for (number, (metric, requests)) in
        [(resource("name: cpu"), cpu), (of_container("web"), cpu), (value, none), (external, none)].iter().enumerate()
    {
        let text = said(&format!("read-{number}"), metric, scenario, requests);
        assert!(!text.contains("W167") && !text.contains("W168"), "{metric}\n{text}");
    }
    let memory = said("memory", &resource("name: memory"), scenario, cpu);
    assert!(memory.contains("W168") && memory.contains("they are taken to use 64Mi each"), "{memory}");
    let known =
        format!("{scenario}services: {{ web: {{ cpu_per_request: 10ms, memory: 50Mi }} }}\ntraffic: {{ web: 5/s }}\n");
    let memory = said("memory-known", &resource("name: memory"), &known, cpu);
    assert!(!memory.contains("W168"), "{memory}");
}

/// Of v1 the API server knows no `metrics`, of v2 no percentage beside them.
#[test]
fn an_autoscaler_has_the_fields_of_its_version_only() {
    let hpa = |version: &str, rest: &str| {
        format!(
            "{SMALL}---\napiVersion: autoscaling/{version}\nkind: HorizontalPodAutoscaler\nmetadata: {{ name: web }}\nspec:\n  \
             maxReplicas: 5\n  scaleTargetRef: {{ apiVersion: apps/v1, kind: Deployment, name: web }}\n  {rest}\n"
        )
    };
    let behavior = "behavior: { scaleDown: { stabilizationWindowSeconds: 60 } }";
    let percent = "targetCPUUtilizationPercentage: 60";
    for (test, version, rest, wrong) in [
        ("v1-behavior", "v1", behavior, true),
        ("v1-percent", "v1", percent, false),
        ("v2-behavior", "v2", behavior, false),
        ("v2-percent", "v2", percent, true),
    ] {
        let text = said_of(test, &hpa(version, rest));
        let said = text.contains(&format!("autoscaling/{version} has no field"));
        assert_eq!(said, wrong, "{version} {rest}\n{text}");
    }
}

/// What is meant is known: it is said once, with what to write.
#[test]
fn a_wrong_value_of_an_autoscaler_or_a_strategy_is_told_once_with_what_to_write() {
    let hpa = |target: &str| {
        format!(
            "{SMALL}---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{ name: web }}\nspec:\n  maxReplicas: 5\n  \
             scaleTargetRef: {{ apiVersion: apps/v1, kind: Deployment, name: web }}\n  metrics: [{{ type: Resource, resource: {{ \
             name: cpu, target: {{ type: Utilization, {target} }} }} }}]\n"
        )
    };
    let text = said_of("part", &hpa("averageUtilization: 0.7"));
    assert!(text.contains("write 70 for 70 %") && text.ends_with("\n1 error\n"), "{text}");
    let text = said_of("quoted", &hpa("averageUtilization: '70'"));
    assert!(text.contains("write it without quotes: 70") && text.ends_with("\n1 error\n"), "{text}");
    let strategy = "spec:\n  strategy: { type: Recreate, rollingUpdate: { maxSurge: 1 } }\n";
    let text = said_of("recreate", &SMALL.replacen("spec:\n", strategy, 1));
    assert!(text.contains("may not be said when `type` is Recreate") && text.ends_with("\n1 error\n"), "{text}");
    let null = strategy.replace("{ maxSurge: 1 }", "null");
    assert!(!said_of("recreate-null", &SMALL.replacen("spec:\n", &null, 1)).contains("error"));
    let cluster = "cluster: { region: us-east1, zones: [us-east-1a, us-east-1b] }\n";
    let text = said_of_scenario("region", &format!("manifests: [app.yaml]\n{cluster}"), SMALL);
    assert!(text.contains("did you mean `us-east-1`?") && !text.contains("W139"), "{text}");
}

/// Units that are legal and nearly always a slip, and a budget that holds up every drain.
#[test]
fn what_kubernetes_takes_and_nobody_means_is_warned_of() {
    let requests = |requests: &str| said_of("units", &SMALL.replace("{ cpu: 100m }", requests));
    assert!(requests("{ memory: 512m }").contains("did you mean `512Mi`?"));
    assert!(requests("{ cpu: 400M }").contains("did you mean `400m`?"));
    for right in ["{ memory: 512Mi, cpu: 400m }", "{ memory: 1.5Gi, cpu: 0.5 }", "{ memory: 512e6, cpu: 1k }"] {
        assert!(!requests(right).contains("W169"), "{right}");
    }
    let budget = |limits: &str| {
        let selector = "selector: { matchLabels: { app: web } }";
        let pdb = format!(
            "---\napiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {{ name: web }}\nspec: {{ {limits}, {selector} }}\n"
        );
        said_of("blocks", &format!("{}{pdb}", SMALL.replacen("spec:\n", "spec:\n  replicas: 3\n", 1)))
    };
    for never in ["maxUnavailable: 0", "maxUnavailable: 0%", "minAvailable: 100%", "minAvailable: 3"] {
        assert!(budget(never).contains("never allows an eviction of web"), "{never}: {}", budget(never));
    }
    for sometimes in ["maxUnavailable: 1", "maxUnavailable: 1%", "minAvailable: 99%", "minAvailable: 2"] {
        assert!(!budget(sometimes).contains("W170"), "{sometimes}");
    }
}

/// A study has one direction: `maximise` is not nearly `minimise`, but its contrary.
#[test]
fn a_study_that_looks_for_the_most_is_told_to_hold_it() {
    let folder = std::env::temp_dir().join(format!("kubelapse-misspelt-most-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("study.yaml");
    let text =
        "base: base.yaml\nvary: [{ field: run.seed, values: [1, 2] }]\nmeasure: [mean(cost)]\nmaximise: mean(cost)\n";
    std::fs::write(&path, text).unwrap();
    std::fs::write(folder.join("base.yaml"), "run: { until: 1m }\n").unwrap();
    let problems = study::load(&path, None).err().map(|problems| problems.render(false)).unwrap_or_default();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(
        problems.contains("put what must be large under hold:") && !problems.contains("did you mean"),
        "{problems}"
    );
    assert!(problems.ends_with("\n1 error\n"), "{problems}");
}
