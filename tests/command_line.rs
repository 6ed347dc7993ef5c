//! The program as a user meets it: exit codes, what stands on which stream, places that an editor finds.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder to work in, gone with the test.
struct Desk(PathBuf);

/// What a command said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Desk {
    fn new(test: &str) -> Desk {
        let folder = std::env::temp_dir().join(format!("kubelapse-desk-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Desk(std::fs::canonicalize(folder).unwrap())
    }

    /// Also a service that can run: `shop/scenarios/good.yaml` with its manifests.
    fn with_shop(test: &str) -> Desk {
        let desk = Desk::new(test);
        desk.write("shop/scenarios/manifests/web.yaml", WEB);
        desk.write("shop/scenarios/good.yaml", GOOD);
        desk
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Runs the program in this folder.
    fn says(&self, arguments: &[&str]) -> Said {
        self.says_in(&self.0, arguments)
    }

    fn says_in(&self, folder: &Path, arguments: &[&str]) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_kubelapse"))
            .args(arguments)
            .current_dir(folder)
            .env("NO_COLOR", "1")
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Said { code: output.status.code().expect("no signal"), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const WEB: &str = "apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 1
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec: { containers: [{ name: web, image: web, resources: { requests: { cpu: 100m } } }] }
";

const GOOD: &str = "manifests: [manifests/]
run: { until: 2m }
cluster: { nodes: [{ instance_type: m5.large, count: 1 }] }
services: { web: { cpu_per_request: 10ms } }
traffic: { web: 5/s }
expect: [lost_requests == 0]
";

/// Places lead from the working directory to the file, however the scenario was named.
#[test]
fn places_lead_from_the_working_directory() {
    let desk = Desk::with_shop("places");
    desk.write("shop/scenarios/manifests/hpa.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: x }\n");
    desk.write("shop/scenarios/deep/under.yaml", &GOOD.replace("manifests/", "../manifests/"));
    let place = |folder: &str, scenario: &str| {
        let said = desk.says_in(&desk.0.join(folder), &["run", scenario]);
        assert_eq!(said.code, 2, "{}", said.err);
        let line = said.err.lines().find_map(|line| line.trim_start().strip_prefix("--> ")).expect("a place");
        let (file, _) = line.split_once(':').expect("with a line");
        let found = std::fs::canonicalize(desk.0.join(folder).join(file)).expect("the file is there");
        assert!(found.ends_with("shop/scenarios/manifests/hpa.yaml"), "{line}");
        file.to_string()
    };
    assert_eq!(place("", "shop/scenarios/good.yaml"), "shop/scenarios/manifests/hpa.yaml");
    assert_eq!(place("", "./shop/scenarios/deep/under.yaml"), "shop/scenarios/manifests/hpa.yaml");
    assert_eq!(place("shop", "scenarios/good.yaml"), "scenarios/manifests/hpa.yaml");
    assert_eq!(place("shop/scenarios/deep", "under.yaml"), "../manifests/hpa.yaml");
    assert_eq!(place("shop/scenarios/manifests", "../good.yaml"), "../manifests/hpa.yaml");
    let absolute = desk.0.join("shop/scenarios/good.yaml");
    assert!(place("", &absolute.display().to_string()).starts_with('/'));
    let study = "base: own.yaml\nvary: [{ field: run.seed, values: [1] }]\nmeasure: [mean(cost)]\n";
    // What a study varies is the study's, not the command line's.
    desk.write(
        "shop/scenarios/of.yaml",
        &study.replace("own.yaml", "good.yaml").replace("run.seed", "Service/web.spec.x"),
    );
    desk.write("shop/scenarios/manifests/hpa.yaml", "");
    let said = desk.says(&["sweep", "--out", "out", "shop/scenarios/of.yaml"]);
    assert!(said.err.contains("--> shop/scenarios/of.yaml:2:17"), "{}", said.err);
    // A warning leads there as well; what is not there is said with its folder.
    desk.write(
        "shop/scenarios/manifests/hpa.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: { name: x }\nspec: { selector: { a: b } }\n",
    );
    let said = desk.says(&["run", "--out", "out", "shop/scenarios/good.yaml"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("--> shop/scenarios/manifests/hpa.yaml:"), "{}", said.err);
    desk.write("shop/scenarios/own.yaml", "manifests: [own]\n");
    desk.write("shop/scenarios/studies/of.yaml", &study.replace("own.yaml", "../own.yaml"));
    let said = desk.says(&["sweep", "--out", "out", "shop/scenarios/studies/of.yaml"]);
    assert!(said.err.contains("--> shop/scenarios/own.yaml:1:13"), "{}", said.err);
    let said = desk.says(&["run", "shop/scenarios/own.yaml"]);
    assert!(said.err.contains("cannot read shop/scenarios/own: there is no such file or folder"), "{}", said.err);
    let said = desk.says(&["run", "shop/scenarios/godo.yaml"]);
    assert!(
        said.err.contains("cannot read shop/scenarios/godo.yaml") && said.err.contains("`good.yaml`?"),
        "{}",
        said.err
    );
    let said = desk.says(&["run", "shop/scenarios"]);
    assert!(said.err.contains("cannot read shop/scenarios: it is a folder"), "{}", said.err);
    assert!(said.err.contains("give one of its scenarios, such as shop/scenarios/good.yaml"), "{}", said.err);
    let said = desk.says(&["run", "shop/scenarios/manifests"]);
    assert!(said.err.contains("`kubelapse init --from shop/scenarios/manifests`"), "{}", said.err);
}

/// One bad file does not hide the verdicts of the others, and is an error wherever a CI server looks.
#[test]
fn a_bad_scenario_is_an_error_beside_the_verdicts_of_the_good() {
    let desk = Desk::with_shop("bad");
    desk.write("shop/scenarios/bad.yaml", "manifests: [manifests/]\nrnu: { until: 2m }\n");
    let (good, bad) = ("shop/scenarios/good.yaml", "shop/scenarios/bad.yaml");
    let said = desk.says(&["check", good, bad, "--github", "--junit", "j.xml", "--markdown", "m.md"]);
    assert_eq!(said.code, 2, "{}", said.err);
    assert!(said.err.contains("error[E010]") && said.err.ends_with("1 error\n"), "{}", said.err);
    assert!(
        said.out.contains("shop/scenarios/good.yaml: ") && said.out.contains("  holds     lost_requests"),
        "{}",
        said.out
    );
    assert!(said.out.contains("shop/scenarios/bad.yaml: not judged"), "{}", said.out);
    let words = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
    let total = "2 scenarios: 1 as expected; 1 not judged: shop/scenarios/bad.yaml";
    assert!(words.contains(total), "{words}");
    assert!(said.out.contains("::error file=shop/scenarios/bad.yaml,line=2,col=1,"), "{}", said.out);
    let (xml, table) = (desk.read("j.xml"), desk.read("m.md"));
    assert!(xml.contains("lost_requests == 0") && xml.contains("errors=\"1\""), "{xml}");
    assert!(xml.contains("shop/scenarios/bad.yaml:2:1"), "{xml}");
    assert!(table.contains("| good | `lost_requests == 0` | holds |"), "{table}");
    desk.write("shop/scenarios/silent.yaml", &GOOD.replace("expect: [lost_requests == 0]", "about: nothing is asked"));
    let said = desk.says(&["check", "shop/scenarios/silent.yaml"]);
    assert!(said.code == 0 && said.out.replace('\n', " ").contains("there is nothing to check"), "{}", said.out);
    assert!(table.contains("| bad | error[E010] at shop/scenarios/bad.yaml:2:1 | **not judged** |"), "{table}");
}

/// A file given to the wrong command is one error that says what to do, in the place of one for each of its fields.
#[test]
fn a_file_given_to_the_wrong_command_is_one_error() {
    let desk = Desk::with_shop("wrong");
    desk.write(
        "shop/scenarios/study.yaml",
        "base: good.yaml\nruns: 2\nvary: [{ field: services.web.workers, values: [1, 2] }]\nmeasure: [mean(cost)]\n",
    );
    desk.write("shop/stack.yaml", "AWSTemplateFormatVersion: '2010-09-09'\nResources: {}\n");
    let (good, study, web) =
        ("shop/scenarios/good.yaml", "shop/scenarios/study.yaml", "shop/scenarios/manifests/web.yaml");
    for (command, file, is, instead) in [
        ("run", study, "is a study, and a scenario is wanted", "`kubelapse sweep shop/scenarios/study.yaml`"),
        ("check", study, "is a study, and a scenario is wanted", "`kubelapse sweep shop/scenarios/study.yaml`"),
        ("sweep", good, "is a scenario, and a study is wanted", "`kubelapse run shop/scenarios/good.yaml`"),
        ("run", web, "is a manifest, and a scenario is wanted", "under `manifests:` of a scenario"),
        ("sweep", web, "is a manifest, and a study is wanted", "under `manifests:` of a scenario"),
        ("explain", "shop/stack.yaml", "is a manifest, and a scenario is wanted", "under `manifests:` of a scenario"),
    ] {
        let said = desk.says(&[command, file]);
        let errors = said.err.matches("error[").count();
        assert_eq!((said.code, errors), (2, 1), "{command} {file}\n{}", said.err);
        assert!(
            said.err.contains("error[E008]") && said.err.contains(is) && said.err.contains(instead),
            "{}",
            said.err
        );
    }
}

/// Where a command is about chance, a wish for none is refused with the reason.
#[test]
fn no_chance_is_refused_where_all_is_about_chance() {
    let desk = Desk::with_shop("chance");
    let good = "shop/scenarios/good.yaml";
    for arguments in [
        &["compare", good, good, "--noise", "off"][..],
        &["rare", good, "lost_requests > 1", "--noise", "off"],
        &["drain", good, "--noise", "off"],
        &["sweep", good, "--noise", "off"],
        &["run", good, "--runs", "3", "--noise", "off"],
    ] {
        let said = desk.says(arguments);
        assert_eq!(said.code, 2, "{arguments:?}");
        assert!(said.err.contains("chance") && said.err.contains("leave out --noise off"), "{}", said.err);
    }
}

/// A service that answers nothing has nothing to lose, and no preStop is shown to be safe.
#[test]
fn drain_concludes_nothing_from_a_service_that_serves_nothing() {
    let desk = Desk::with_shop("drain");
    let unbound = GOOD.replace("cpu_per_request: 10ms", "cpu_per_request: 10ms, target_group: web")
        + "target_groups: { web: {} }\n";
    desk.write("shop/scenarios/unbound.yaml", &unbound);
    desk.write(
        "shop/scenarios/silent.yaml",
        &GOOD.replace("web: 5/s", "web: [{ at: 0s, rate: 0/s }, { at: 8m, rate: 1/s }]"),
    );
    let drain = |scenario: &str| desk.says(&["drain", scenario, "--runs", "20", "--until", "5m"]);
    let said = drain("shop/scenarios/unbound.yaml");
    assert_eq!(said.code, 3, "{}{}", said.out, said.err);
    let flat = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("nothing can be concluded about web") && flat.contains("none was answered"), "{}", said.out);
    assert!(said.out.lines().all(|line| line.chars().count() <= 80), "{}", said.out);
    let said = drain("shop/scenarios/silent.yaml");
    assert!(said.code == 3 && said.out.contains("Nobody sent any"), "{}{}", said.out, said.err);
}

/// Mistakes of the command line come with what may have been meant.
#[test]
fn mistakes_of_the_command_line_come_with_a_suggestion() {
    let desk = Desk::with_shop("suggest");
    desk.write("data.csv", "requests\n5\n5\n");
    let recorded = GOOD.replace("web: 5/s", "web: [{ data: crowd, column: requests, every: 1s }]");
    desk.write("shop/scenarios/recorded.yaml", &recorded);
    let (good, recorded) = ("shop/scenarios/good.yaml", "shop/scenarios/recorded.yaml");
    for (arguments, words) in [
        (&["run", good, "--set", "Deployment/wep.spec.replicas=3"][..], "did you mean `Deployment/web`?"),
        (&["run", good, "--set", "NodePool/general.spec.weight=3"], "known here: Deployment/web"),
        (&["run", good, "--set", "run.noise=maybe"], "expected on or off, found"),
        (
            &["run", good, "--data", "crowd=data.csv"],
            "--data crowd: nothing in the scenario asks for data of that name",
        ),
        (
            &["check", good, "--data", "crowd=data.csv"],
            "--data crowd: nothing in the scenario asks for data of that name",
        ),
        (&["explain", good, "--at", "3m"], "--at 3m lies behind the end of the run, which lasts 2m"),
        (&["run", good, "--set", "cluster={ nodes: [{ instance_tpye: m5.large }] }"], "did you mean `instance_type`?"),
    ] {
        let said = desk.says(arguments);
        assert_eq!(said.code, 2, "{arguments:?} {}", said.err);
        assert!(said.err.contains(words), "{arguments:?}\n{}", said.err);
        assert!(said.err.matches("error").count() <= 2, "one mistake, one error: {}", said.err);
    }
    // One scenario of several asks for it; the short form of traffic makes room for what stands beside a curve.
    let said = desk.says(&["check", good, recorded, "--data", "crowd=data.csv"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let said = desk.says(&["run", good, "--out", "out", "--set", "traffic.web.mode=fluid"]);
    assert_eq!(said.code, 0, "{}", said.err);
}

/// The summary accounts for every request and names every file, in 80 columns.
#[test]
fn the_summary_accounts_for_every_request_and_names_every_file() {
    let desk = Desk::with_shop("summary");
    let slow = GOOD.replace("cpu_per_request: 10ms", "cpu_per_request: 10ms, wait_per_request: 3s, workers: 50");
    desk.write("shop/scenarios/slow.yaml", &slow);
    let said = desk.says(&["run", "shop/scenarios/slow.yaml", "--out", "out"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let number = |label: &str, column: usize| -> u64 {
        let row = said.out.lines().find_map(|line| line.trim_start().strip_prefix(label)).expect("the row is there");
        row.split_whitespace().nth(column).and_then(|cell| cell.parse().ok()).expect("a number")
    };
    let (offered, served, lost) = (number("web ", 0), number("web ", 1), number("web ", 3));
    let open = number("open at the end", 0);
    assert!(open > 0 && offered == served + lost + open, "{}", said.out);
    for file in std::fs::read_dir(desk.0.join("out/slow")).unwrap().flatten() {
        assert!(said.out.contains(file.file_name().to_str().unwrap()), "{:?} is not named\n{}", file.path(), said.out);
    }
    assert!(said.out.lines().all(|line| line.chars().count() <= 80), "{}", said.out);
}

/// What `init` writes runs, checks green, says nothing, and is never written over anything.
#[test]
fn a_first_scenario_runs_and_checks_green() {
    let desk = Desk::new("init");
    let said = desk.says(&["init", "shop"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("shop/manifests/web.yaml\n") && said.out.contains("kubelapse run shop/scenario.yaml\n"));
    let before = desk.read("shop/scenario.yaml");
    let said = desk.says(&["check", "shop/scenario.yaml"]);
    assert!(
        said.code == 0 && said.err.is_empty() && said.out.contains("  holds     time_to_serve"),
        "{}{}",
        said.out,
        said.err
    );
    let said = desk.says(&["run", "shop/scenario.yaml", "--out", "out"]);
    assert!(
        said.code == 0 && said.err.is_empty() && said.out.contains("Step 1: web 3 -> "),
        "{}{}",
        said.out,
        said.err
    );
    desk.write("shop/manifests/web.yaml", WEB);
    std::fs::remove_file(desk.0.join("shop/scenario.yaml")).unwrap();
    let said = desk.says(&["init", "shop"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("shop/manifests/web.yaml, shop/manifests/nodes.yaml are there already"), "{}", said.err);
    assert!(!desk.0.join("shop/scenario.yaml").exists(), "all or nothing");
    assert_eq!(desk.read("shop/manifests/web.yaml"), WEB);
    assert!(before.contains("expect:"));
}

/// A scenario for manifests that are there: with a NodePool nodes are those that Karpenter buys, without one a plain type.
#[test]
fn a_scenario_for_manifests_that_are_there_runs_and_checks_green() {
    let desk = Desk::new("from");
    assert_eq!(desk.says(&["init", "whole"]).code, 0);
    std::fs::rename(desk.0.join("whole/manifests"), desk.0.join("k8s")).unwrap();
    desk.write("plain/web.yaml", WEB);
    desk.write("plain/values.yaml", "replicas: 3\n");
    for (arguments, file, names) in [
        (&["init", "--from", "k8s"][..], "scenario.yaml", "manifests:\n  - k8s/\n"),
        (&["init", "k8s", "--from", "k8s"], "k8s/scenario.yaml", "manifests:\n  - nodes.yaml\n  - web.yaml\n"),
        (&["init", "plain", "--from", "plain"], "plain/scenario.yaml", "manifests:\n  - web.yaml\n"),
        (&["init", "--from", "plain/web.yaml"], "plain/scenario.yaml", "manifests:\n  - web.yaml\n"),
    ] {
        let _ = std::fs::remove_file(desk.0.join(file));
        let said = desk.says(arguments);
        assert_eq!(said.code, 0, "{arguments:?}\n{}", said.err);
        let text = desk.read(file);
        assert!(text.contains(names) && text.contains("\nname: web\n"), "{arguments:?}\n{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
        let said = desk.says(&["check", file]);
        assert!(said.code == 0 && said.out.contains("  holds  "), "{text}\n{}{}", said.out, said.err);
    }
    let text = desk.read("scenario.yaml");
    assert!(
        text.contains("node_pool: general, instance_type: m6i.large") && text.contains("\n  web: [{ at: 0s, rate: "),
        "{text}"
    );
    assert!(text.contains("\n  - time_to_serve <= 2m\n") && text.contains("target_groups:\n  web:\n"), "{text}");
    assert!(desk.read("plain/scenario.yaml").contains("no NodePool is among the manifests"));
    // The region is that of the ARNs, and what is assumed of a service is written.
    let arn = "arn:aws:elasticloadbalancing:eu-west-3:111122223333:targetgroup/web/0123456789abcdef";
    let binding = "apiVersion: elbv2.k8s.aws/v1beta1\nkind: TargetGroupBinding\nmetadata: { name: web }\nspec: { targetGroupARN: ";
    let service = "apiVersion: v1\nkind: Service\nmetadata: { name: web }\nspec: { selector: { app: web }, ports: [{ port: 80 }] }\n";
    let bound = format!("{binding}'{arn}', serviceRef: {{ name: web, port: 80 }} }}\n---\n{service}");
    desk.write("bound/all.yaml", &format!("{WEB}---\n{bound}"));
    let said = desk.says(&["init", "--from", "bound/all.yaml"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let text = desk.read("bound/scenario.yaml");
    assert!(
        text.contains("region: eu-west-3 # as ARNs of the manifests say") && text.contains(", start: 3s"),
        "{text}"
    );
    // Refused: what is there, what lies elsewhere, what is wrong, what is no YAML.
    desk.write("torn/web.yaml", WEB);
    desk.write("torn/other.yaml", "apiVersion: v1\nkind: [Service\n");
    let said = desk.says(&["init", "torn", "--from", "torn"]);
    assert!(
        said.code == 2 && said.err.contains("error[E005]") && said.err.contains("torn/other.yaml:"),
        "{}",
        said.err
    );
    assert!(!desk.0.join("torn/scenario.yaml").exists());
    assert!(desk.says(&["init", "--from", "k8s"]).err.contains("scenario.yaml is there already"));
    assert!(desk.says(&["init", "other", "--from", "k8s"]).err.contains("lies outside of"));
    assert!(!desk.0.join("other").exists(), "what is refused leaves nothing");
    desk.write("broken/web.yaml", &WEB.replace("selector:", "selectr:"));
    let said = desk.says(&["init", "broken", "--from", "broken/web.yaml"]);
    assert!(
        said.code == 2 && said.err.contains("broken/web.yaml:6:3") && !desk.0.join("broken/scenario.yaml").exists(),
        "{}",
        said.err
    );
}

const POOL: &str = "apiVersion: karpenter.sh/v1
kind: NodePool
metadata: { name: general }
spec:
  template:
    spec:
      nodeClassRef: { group: karpenter.k8s.aws, kind: EC2NodeClass, name: kept-elsewhere }
      requirements: [{ key: node.kubernetes.io/instance-type, operator: In, values: [m5.large] }]
";

/// A tree of manifests as people keep it: versions of an object beside each other, what is kept elsewhere, charts and templates.
#[test]
fn a_first_scenario_is_written_for_any_tree_of_manifests() {
    let desk = Desk::new("tree");
    desk.write("k8s/a/pool.yaml", POOL);
    desk.write("k8s/b/pool.yaml", &POOL.replace("m5.large", "m5.xlarge"));
    desk.write("k8s/web.yaml", WEB);
    desk.write("k8s/chart/Chart.yaml", "name: web\n");
    desk.write("k8s/chart/templates/web.yaml", "apiVersion: v1\nkind: {{ .Values.kind }}\n");
    desk.write("k8s/config.yaml", "apiVersion: v1\nkind: ConfigMap\n---\napiVersion: v1\nkind: ConfigMap\n");
    desk.write("k8s/kustomization.yaml", "resources: [web.yaml]\n");
    desk.write("k8s/rendered.yaml", "apiVersion: v1\nkind: {{ .Values.kind }}\n");
    let said = desk.says(&["init", "--from", "k8s"]);
    assert_eq!(said.code, 0, "{}", said.err);
    for words in [
        "k8s/b/pool.yaml is left out: NodePool general is there twice, first in k8s/a/pool.yaml",
        "k8s/chart is a Helm chart: left out",
        "k8s/rendered.yaml is a template: left out",
        "k8s/kustomization.yaml changes manifests: left out",
        "ConfigMap is not modelled: passed over (2 of them)",
    ] {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
    let (text, assumed) = (desk.read("scenario.yaml"), desk.read("assumed.yaml"));
    let named = "manifests:\n  - k8s/config.yaml\n  - k8s/web.yaml\n  - k8s/a/pool.yaml\n  - assumed.yaml # assumed\n";
    assert!(text.contains(named) && text.contains("node_pool: general, instance_type: m5.large"), "{text}");
    assert!(
        assumed.contains("metadata: { name: kept-elsewhere }") && !assumed.contains("kind: NodePool\n"),
        "{assumed}"
    );
    assert_eq!(desk.says(&["check", "scenario.yaml"]).code, 0);
    let said = desk.says(&["init", "--from", "k8s", "elsewhere"]);
    assert!(said.err.contains("kubelapse init DIR --from"), "{}", said.err);
}

/// Pods that ask for labels: without a NodePool one that gives them is assumed, and where none gives them the summary says so.
#[test]
fn pods_that_ask_for_labels_get_them_or_it_is_said() {
    let desk = Desk::new("labels");
    let wishes = "spec: { nodeSelector: { intent: apps, kubernetes.io/arch: arm64 }, containers:";
    desk.write("k8s/web.yaml", &WEB.replace("spec: { containers:", wishes));
    assert_eq!(desk.says(&["init", "--from", "k8s"]).code, 0);
    assert!(desk.read("assumed.yaml").contains("        intent: 'apps'\n"));
    assert!(desk.read("scenario.yaml").contains("node_pool: default, instance_type: "));
    desk.write("pool.yaml", &POOL.replace("kept-elsewhere", "default"));
    let text = desk.read("assumed.yaml");
    let class = &text[text.find("apiVersion: karpenter.k8s.aws").expect("a class")..];
    desk.write("class.yaml", class);
    desk.write("own.yaml", "manifests: [k8s/, pool.yaml, class.yaml]\nrun: { until: 2m }\n");
    let said = desk.says(&["run", "own.yaml", "--out", "out"]);
    let words = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("no NodePool gives `intent: apps`"), "{}", said.out);
    desk.write(
        "plain.yaml",
        "manifests: [k8s/]\ncluster: { nodes: [{ instance_type: m5.large }] }\nrun: { until: 2m }\n",
    );
    let said = desk.says(&["run", "plain.yaml", "--out", "out"]);
    let words = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains("The scheduler had no node for") && words.contains("0/1 nodes are available: 1 node(s)"),
        "{words}"
    );
}

/// Pods that find no node: init says so and why, and what it leaves out of the expectations; a class of priority that lives
/// elsewhere is assumed. Where init fails it says only what is certain: the zones are not those of the default region.
#[test]
fn init_says_what_can_never_run() {
    let desk = Desk::new("never");
    let labelled = POOL.replace("    spec:\n", "    metadata: { labels: { team: shop } }\n    spec:\n");
    let zones = ", { key: topology.kubernetes.io/zone, operator: In, values: [eu-west-3a] }]";
    desk.write("k8s/pool.yaml", &labelled.replace("values: [m5.large] }]", &format!("values: [m5.large] }}{zones}")));
    let wishes = "spec: { priorityClassName: kept-elsewhere, nodeSelector: { team: shopp }, containers:";
    desk.write("k8s/web.yaml", &WEB.replace("spec: { containers:", wishes));
    let said = desk.says(&["init", "--from", "k8s"]);
    assert_eq!(said.code, 0, "{}", said.err);
    for words in [
        "did you mean `shop`?",
        "no NodePool gives `team: shopp`",
        "left out of `expect:`, as it does not hold: unscheduled_pods == 0: it is ",
    ] {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
    assert!(desk.read("assumed.yaml").contains("kind: PriorityClass\nmetadata: { name: kept-elsewhere }\nvalue: 0\n"));
    assert!(desk.read("scenario.yaml").contains("\n#   unscheduled_pods == 0: it is "));
    desk.write("broken/pool.yaml", &desk.read("k8s/pool.yaml"));
    desk.write("broken/web.yaml", &WEB.replace("selector:", "selectr:"));
    let said = desk.says(&["init", "broken", "--from", "broken"]);
    assert!(said.code == 2 && said.err.contains("1 error") && !said.err.contains("W135"), "{}", said.err);
}

/// A million CPUs are a slip in their unit: the manifest is warned of, and no line that init made up is blamed.
#[test]
fn init_blames_the_manifest_for_a_unit_that_slipped() {
    let desk = Desk::new("slip");
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: { name: web }\nspec: { selector: { app: web }, ports: [{ port: 80 }] }\n";
    desk.write("k8s/web.yaml", &(WEB.replace("cpu: 100m", "cpu: 400M") + service));
    let said = desk.says(&["init", "--from", "k8s"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("W169") && said.err.contains("did you mean `400m`?"), "{}", said.err);
    assert!(!said.err.contains("scenario.yaml:") && said.err.contains("call init again"), "{}", said.err);
}

/// What a picture is about has words: each trigger, and of which Deployment it is where several scale.
#[test]
fn labels_of_a_picture_say_what_and_whose() {
    let svg = |name: &str| {
        let plan = crate::support::load(&crate::support::root().join("scenarios").join(name));
        let (files, _) = kubelapse::study::report(&plan, &kubelapse::study::run_once(&plan, 0, false));
        let (_, bytes) = files.into_iter().find(|(name, _)| name == "timeline.svg").expect("the picture");
        String::from_utf8(bytes).unwrap()
    };
    let maintenance = svg("operator/maintenance.yaml");
    for words in
        ["trigger: 6 → 11 replicas", "trigger: 11 → 12 replicas", "cordon of node lab-01", "scale-down: 12 → 7"]
    {
        assert!(maintenance.contains(words), "{words} is not said");
    }
    let churn = svg("karpenter/consolidation-churn.yaml");
    assert!(
        churn.contains("trigger: eager 2 → 3 replicas") && churn.contains("patient 2 → 3"),
        "whose step it is, is not said"
    );
    assert!(churn.contains(">load 1 → 4.4 cores<"), "all loads change alike");
}

/// A failing expectation is annotated at its own line, also where that stands in the file below: then with the scenario's name.
#[test]
fn annotations_stand_at_the_statement() {
    let desk = Desk::with_shop("annotated");
    desk.write(
        "shop/scenarios/good.yaml",
        &GOOD.replace("[lost_requests == 0]", "\n  - lost_requests == 0\n  - nodes_max >= 2"),
    );
    desk.write("shop/scenarios/upon.yaml", "base: good.yaml\nrun: { until: 3m }\n");
    for (name, whose) in [("good", ""), ("upon", "shop/scenarios/upon.yaml%3A ")] {
        let wanted = format!("::error file=shop/scenarios/good.yaml,line=8,col=5,title={whose}nodes_max >= 2::");
        let said = desk.says(&["check", &format!("shop/scenarios/{name}.yaml"), "--github"]);
        assert!(said.code == 1 && said.out.contains(&wanted), "{}{}", said.out, said.err);
    }
}

/// What is legal and hardly meant is a warning, which a job that shows errors alone would never see: there it can be an error.
#[test]
fn a_warning_stops_a_strict_check() {
    let desk = Desk::with_shop("strict");
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: { name: web }\nspec: { selector: { app: wbe }, ports: [{ port: 80 }] }\n";
    desk.write("shop/scenarios/manifests/web.yaml", &(WEB.to_string() + service));
    let said = desk.says(&["check", "shop/scenarios/good.yaml"]);
    assert!(said.code == 0 && said.err.contains("warning[W132]"), "{}{}", said.out, said.err);
    let said = desk.says(&["check", "shop/scenarios/good.yaml", "--strict", "--quiet", "--github"]);
    assert!(said.code == 2 && said.err.contains("error[W132]") && said.err.ends_with("1 error\n"), "{}", said.err);
    assert!(said.out.contains("::error file=shop/scenarios/manifests/web.yaml,line=14,"), "{}", said.out);
    let said = desk.says(&["run", "shop/scenarios/good.yaml", "--strict"]);
    assert!(said.code == 2 && !desk.0.join("output").exists(), "{}", said.err);
}

/// Of many runs, too, the first sentence says what was lost.
#[test]
fn the_first_sentence_of_many_runs_speaks_of_losses() {
    let desk = Desk::with_shop("losses");
    desk.write("shop/scenarios/crowd.yaml", "base: good.yaml\ntraffic: { web: 500/s }\n");
    let first = |name: &str| {
        let said = desk.says(&["run", &format!("shop/scenarios/{name}.yaml"), "--runs", "3"]);
        assert!(said.code == 0, "{}", said.err);
        said.out.split("\n\n").next().unwrap_or_default().replace('\n', " ")
    };
    assert_eq!(first("good"), "good: no scaling; no run lost a request.");
    assert!(first("crowd").starts_with("crowd: no scaling; every run lost requests, "), "{}", first("crowd"));
}
