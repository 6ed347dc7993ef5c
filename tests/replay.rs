//! Recordings of a real control plane are predicted, and a prediction that is wrong is found out.

use crate::support::root;
use kubelapse::analysis::replay::{Kind, Timeline, predicted};
use kubelapse::plan::Plan;
use kubelapse::scenario::recording::{Loaded, load};
use kubelapse::study::replay::{Replayed, replay};
use kubelapse::study::run_once;
use std::fs;
use std::path::{Path, PathBuf};

/// Recordings, read in place: below `KUBELAPSE_SHARED`, or else `../shared`.
fn recordings() -> Vec<PathBuf> {
    let shared = std::env::var_os("KUBELAPSE_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let folder = shared.join("recordings");
    let mut found: Vec<PathBuf> = (fs::read_dir(&folder).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| path.join("constants.json").is_file())
        .collect();
    found.sort();
    if found.is_empty() {
        println!("SKIPPED (1): no recordings below {}", folder.display());
    }
    found
}

fn read(folder: &Path) -> Loaded {
    load(folder).unwrap_or_else(|problems| panic!("{}", problems.render(false)))
}

/// The row of the README's table.
fn row(loaded: &Loaded, replayed: &Replayed) -> String {
    let comparison = &replayed.comparison;
    let (matched, missing, extra) = comparison.totals();
    let errors = comparison.errors();
    let at = |percent: usize| errors[(errors.len() * percent).div_ceil(100).max(1) - 1];
    let chain = |name: &str| {
        let chain = comparison.chains.iter().rfind(|chain| chain.name == name);
        let times = chain.and_then(|chain| chain.observed.zip(chain.predicted));
        times.map_or("-".to_string(), |(real, ours)| format!("{real:.1} s / {ours:.1} s"))
    };
    let name = &loaded.recording.name;
    format!(
        "| {name} | {matched} | {missing} | {extra} | {:.2} s | {:.2} s | {} | {} |",
        at(50),
        at(95),
        chain("trigger to all pods ready"),
        chain("trigger to nodes gone")
    )
}

#[test]
fn every_recording_at_hand_is_inside_its_tolerances_and_in_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let mut stale = Vec::new();
    for folder in recordings() {
        let loaded = read(&folder);
        let replayed = replay(&loaded.plan, &loaded.recording);
        let (runs, draw) = (replayed.runs, replayed.draw);
        let screen = kubelapse::render::replay::screen(&loaded.recording, &replayed.comparison, runs, draw);
        assert!(replayed.comparison.holds(), "{screen}");
        assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
        let row = row(&loaded, &replayed);
        if readme.contains(&format!("| {} |", loaded.recording.name)) && !readme.contains(&row) {
            stale.push(row);
        }
    }
    assert!(stale.is_empty(), "the README should say:\n{}", stale.join("\n"));
}

const NODE: &str = "apiVersion: v1
kind: Node
metadata: {name: static-0, labels: {kubernetes.io/hostname: static-0}}
status: {allocatable: {cpu: 3900m, memory: 15Gi, pods: '58'}}
";
const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: php, image: 'web:1', resources: {requests: {cpu: 500m}}}]}
";
const PATCH: &str = "# merge patch /apis/apps/v1/namespaces/default/deployments/web
spec: {replicas: 3}
";
const CONSTANTS: &str = r#"{"versions": {"kubernetes": "v1.34.4"}, "fake_kubelet": {"bound_to_running_s": 2.0}}"#;
const SUMMARY: &str = r#"{"trigger": {"utc": "2026-11-23T03:00:00.500000+00:00"}}"#;
/// Two pods on a static node, and a third from the trigger on.
const TIMELINE: &str = "t,kind,name,event,detail
-30.0,Action,,action,apply node
-29.97,Node,static-0,created,type=None
-20.5,Node,static-0,ready,Ready=True
-15.0,Action,,action,apply deployment
-14.95,Pod,web-a,created,
-14.95,Pod,web-b,created,
-14.93,Pod,web-a,scheduled,static-0
-14.93,Pod,web-b,scheduled,static-0
-12.9,Pod,web-a,running,
-12.9,Pod,web-b,running,
-9.88,Pod,web-a,ready,
-9.88,Pod,web-b,ready,
0.0,Action,,trigger,scale 2 -> 3
0.02,Deployment,web,scaled,spec.replicas 2 -> 3
0.05,Pod,web-c,created,
0.07,Pod,web-c,scheduled,static-0
2.1,Pod,web-c,running,
5.12,Pod,web-c,ready,
9.0,Action,,action,end of recording
";
const FILES: [(&str, &str); 6] = [
    ("manifests/01-node.yaml", NODE),
    ("manifests/02-deployment.yaml", DEPLOYMENT),
    ("manifests/03-patch.yaml", PATCH),
    ("constants.json", CONSTANTS),
    ("summary.json", SUMMARY),
    ("timeline.csv", TIMELINE),
];

/// A recording written for one test, handed to `work`.
fn with_recording<R>(name: &str, files: &[(&str, Vec<u8>)], work: impl FnOnce(&Path) -> R) -> R {
    let folder = std::env::temp_dir().join(format!("kubelapse-{name}-{}", std::process::id()));
    fs::create_dir_all(folder.join("manifests")).unwrap();
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
    let result = work(&folder);
    fs::remove_dir_all(&folder).unwrap();
    result
}

fn files(changed: &str, from: &str, to: &str) -> Vec<(&'static str, Vec<u8>)> {
    let change = |name: &str, text: &str| if name == changed { text.replace(from, to) } else { text.to_string() };
    FILES.map(|(name, text)| (name, change(name, text).into_bytes())).to_vec()
}

fn replayed(name: &str, files: &[(&str, Vec<u8>)]) -> Replayed {
    with_recording(name, files, |folder| {
        let loaded = read(folder);
        replay(&loaded.plan, &loaded.recording)
    })
}

#[test]
fn a_recording_is_predicted_from_manifests_and_actions_alone() {
    let found = replayed("replay-plain", &files("", "", ""));
    assert_eq!(found.comparison.totals(), (15, 0, 0));
    assert!(found.comparison.holds(), "{:?}", found.comparison);
    assert_eq!(found.predicted.ended, ["pods: 3, ready: 3", "nodes: static", "claims: 0", "web: 3 replicas"]);
    let ready = found.predicted.of_kind(Kind::PodReady).last().unwrap().at;
    assert!((5_000_000..5_300_000).contains(&ready), "two and three seconds after it was bound: {ready}");
}

#[test]
fn what_did_not_happen_so_is_found_out() {
    let wrong = [
        ("spec.replicas 2 -> 3", "spec.replicas 2 -> 4", "another size"),
        ("5.12,Pod,web-c,ready", "7.12,Pod,web-c,ready", "two seconds later"),
        ("5.12,Pod,web-c,ready,\n", "", "never ready"),
        ("2.1,Pod,web-c,running,\n", "2.1,Pod,web-c,running,\n3.0,Pod,web-d,created,\n", "one more pod"),
    ];
    for (number, (from, to, what)) in wrong.into_iter().enumerate() {
        let found = replayed(&format!("replay-wrong-{number}"), &files("timeline.csv", from, to));
        assert!(!found.comparison.holds(), "{what}");
    }
    let found = replayed("replay-patch", &files("manifests/03-patch.yaml", "replicas: 3", "replicas: 4"));
    assert!(!found.comparison.holds(), "a manifest that asks for more");
}

/// The recording with other words for its trigger, and that without the patch which they do not send.
fn with_action(words: &str) -> Vec<(&'static str, Vec<u8>)> {
    let mut files = files("timeline.csv", "scale 2 -> 3", words);
    files.retain(|(name, _)| *name != "manifests/03-patch.yaml");
    files
}

#[test]
fn pods_are_deleted_and_nodes_drained_as_actions_say() {
    let names = |found: &Replayed, kind: Kind| -> Vec<String> {
        found.predicted.of_kind(kind).map(|one| one.subject.clone()).collect()
    };
    let deleted = replayed("replay-pod", &with_action("delete Pod web-b2c-xyz (it is gone)"));
    assert_eq!(names(&deleted, Kind::PodDeleting), Vec::<String>::new(), "no pod of that name was made");
    let named = TIMELINE.replace("web-a,", "web-b2c-abc,").replace("web-b,", "web-b2c-xyz,");
    let named = named.replace("scale 2 -> 3", "delete Pod web-b2c-xyz");
    let mut files = with_action("");
    files
        .iter_mut()
        .filter(|(name, _)| *name == "timeline.csv")
        .for_each(|(_, text)| *text = named.clone().into_bytes());
    let deleted = replayed("replay-pods", &files);
    assert_eq!(names(&deleted, Kind::PodDeleting), ["pod-1"], "the second that the Deployment made");
    assert_eq!(names(&deleted, Kind::PodCreated).len(), 3);
    let drained = replayed("replay-drain", &with_action("drain node static-0"));
    assert_eq!(names(&drained, Kind::PodDeleting).len(), 2);
    assert_eq!(drained.predicted.ended[0], "pods: 2, ready: 0", "no other node takes them");
    let cordoned = replayed("replay-cordon", &with_action("cordon static-0"));
    let taints = |found: &Replayed| found.predicted.of_kind(Kind::NodeTaints).filter(|one| one.at > 0).count();
    assert!(taints(&cordoned) > 0 && taints(&deleted) == 0);
}

#[test]
fn several_scaled_deployments_share_the_load() {
    let autoscaler = |name: &str| {
        format!(
            "---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: {name}}}\nspec: \
             {{maxReplicas: 5, scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}}}\n"
        )
    };
    let both =
        format!("{DEPLOYMENT}---\n{}{}{}", DEPLOYMENT.replace("web", "api"), autoscaler("web"), autoscaler("api"));
    let mut files = with_action("total load := 2 cores");
    files.iter_mut().filter(|(name, _)| name.contains("02-")).for_each(|(_, text)| *text = both.clone().into_bytes());
    let used = with_recording("replay-shared", &files, |folder| {
        let loaded = read(folder);
        let mut world = replay(&loaded.plan, &loaded.recording).outcome.world;
        let ready: Vec<_> = world.pods.iter().filter(|pod| pod.is_ready()).map(|pod| pod.id).collect();
        ready.into_iter().map(|pod| world.cpu_meter(pod).rate()).collect::<Vec<u64>>()
    });
    assert_eq!(used, [500_000_000; 4], "two cores among four pods");
}

#[test]
fn later_states_of_a_recording_do_not_reach_its_prediction() {
    let plain = replayed("replay-given", &files("", "", ""));
    // Rows that came of it are taken away: the prediction stays as it is.
    let bare: String =
        TIMELINE.lines().filter(|line| !line.contains(",Pod,")).map(|line| format!("{line}\n")).collect();
    let other = replayed("replay-bare", &files("timeline.csv", TIMELINE, &bare));
    assert_eq!(plain.predicted.happenings, other.predicted.happenings);
}

#[test]
fn karpenters_loop_begins_with_the_recorders_watches() {
    let phase = |timeline: &str| {
        with_recording("replay-phase", &files("timeline.csv", TIMELINE, timeline), |folder| {
            let plan = read(folder).plan;
            plan.start + plan.flags.karpenter.disruption_phase.unwrap()
        })
    };
    let refused = TIMELINE.replace("-30.0,Action", "-30.51,Recorder,,error,\"{}\"\n-30.0,Action");
    let much_earlier = TIMELINE.replace("-30.0,Action", "-90.0,Recorder,,error,\"{}\"\n-30.0,Action");
    assert_eq!(phase(TIMELINE).since(phase(&refused)).micros(), 510_000, "tried again half a second later");
    assert_eq!(phase(TIMELINE), phase(&much_earlier));
}

/// A prediction as a recorder would have written it.
fn written(timeline: &Timeline) -> String {
    let mut text = "t,kind,name,event,detail\n".to_string();
    for one in &timeline.happenings {
        let (at, subject, detail) = (one.at as f64 / 1e6, one.subject.replace("node", "static"), &one.detail);
        let mut row = |kind: &str, event: &str, detail: &str| {
            text.push_str(&format!("{at},{kind},{subject},{event},{detail}\n"));
        };
        match one.kind {
            Kind::Scaled => row("Deployment", "scaled", &format!("spec.replicas {detail}")),
            Kind::PodCreated => row("Pod", "created", ""),
            Kind::PodScheduled => row("Pod", "scheduled", detail),
            Kind::PodAcknowledged => row("Pod", "acked", ""),
            Kind::PodRunning => row("Pod", "running", ""),
            Kind::PodReady => row("Pod", "ready", ""),
            Kind::PodDeleting => {
                let evicted = (detail == "eviction").then_some("EvictionByEvictionAPI: evicting");
                evicted.into_iter().for_each(|reason| row("Pod", "disruptiontarget", reason));
                row("Pod", "deleting", "");
            }
            Kind::PodGone => row("Pod", "gone", ""),
            Kind::NodeCreated => row("Node", "created", "type=None"),
            Kind::NodeReady => row("Node", "ready", ""),
            Kind::NodeTaints => row("Node", "tainted", ""),
            _ => {}
        }
    }
    text
}

/// Eight pods on two nodes, four of which a scale-down takes: which, their UIDs decide. Then one of the nodes is drained.
#[test]
fn what_kubernetes_leaves_to_chance_may_fall_as_recorded_and_nothing_else_may() {
    let actions = "t,kind,name,event,detail\n-30.0,Action,,action,apply node\n-15.0,Action,,action,apply deployment\n\
                   0.0,Action,,trigger,scale 8 -> 4\n9.0,Action,,action,drain node static-0\n20.0,Action,,action,end of recording\n";
    let recording = |timeline: &str| {
        let mut files = files("timeline.csv", TIMELINE, timeline);
        for (name, text) in &mut files {
            match *name {
                "manifests/01-node.yaml" => {
                    *text = format!("{NODE}---\n{}", NODE.replace("static-0", "static-1")).into_bytes()
                }
                "manifests/02-deployment.yaml" => *text = DEPLOYMENT.replace("replicas: 2", "replicas: 8").into_bytes(),
                "manifests/03-patch.yaml" => *text = PATCH.replace("replicas: 3", "replicas: 4").into_bytes(),
                _ => {}
            }
        }
        files
    };
    let loaded = with_recording("replay-chance", &recording(actions), read);
    let trigger = loaded.recording.trigger;
    let drawn = |number: u64| {
        let plan = Plan { noise: number > 0, ..loaded.plan.clone() };
        let outcome = run_once(&plan, number, false);
        predicted(&plan, &outcome.world, &outcome.recorder, trigger)
    };
    let plain = drawn(0);
    let other = (1..=24).map(drawn).find(|other| other.evicted != plain.evicted).expect("chance decides");
    let recorded = |timeline: &Timeline| {
        let rows: String = actions.lines().skip(1).map(|line| format!("{line}\n")).collect();
        replayed("replay-by-chance", &recording(&(written(timeline) + &rows)))
    };
    let (same, by_chance) = (recorded(&plain), recorded(&other));
    assert!(same.comparison.holds() && same.draw.is_none(), "{:?}", same.comparison.lists);
    assert!(by_chance.comparison.holds() && by_chance.draw.is_some(), "{:?}", by_chance.comparison.lists);
    let mut never = plain.clone();
    let evicted = never.happenings.iter().position(|one| one.kind == Kind::PodDeleting && one.detail == "eviction");
    never.happenings[evicted.expect("the drain evicts")].detail.clear();
    let never = recorded(&never);
    assert!(!never.comparison.holds(), "all pods of the node are evicted, not all but one");
}

#[test]
fn an_autoscaler_is_noticed_a_period_before_its_first_sync() {
    let autoscaler = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\nspec: {maxReplicas: 5, \
                      scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}\n";
    let first = |sync: &str| {
        let timeline = TIMELINE.replace("0.0,Action,,trigger,scale 2 -> 3", "0.0,Action,,trigger,apply patch");
        let timeline = timeline.replace("9.0,Action", &format!("{sync}\n29.0,Action"));
        let mut files = files("timeline.csv", TIMELINE, &timeline);
        let patch = files.iter_mut().find(|(name, _)| name.contains("03-")).expect("it is there");
        patch.1 = autoscaler.as_bytes().to_vec();
        replayed("replay-first-sync", &files).predicted.of_kind(Kind::Synced).next().expect("it syncs").at
    };
    assert!((first("15.6,HPA,web,sync,") - 15_600_000).abs() < 5_000, "as given");
    let own = first("");
    assert!(
        (own - 15_048_000).abs() < 5_000 && first("19.0,HPA,web,sync,") == own,
        "what is too late was not the first"
    );
}

#[test]
fn what_a_recording_lacks_or_says_wrongly_is_said_all_at_once() {
    let problems = |files: &[(&str, Vec<u8>)]| {
        with_recording("replay-problems", files, |folder| match load(folder) {
            Ok(loaded) => loaded.render_warnings(false),
            Err(problems) => problems.render(false),
        })
    };
    let text = problems(&[("constants.json", b"{".to_vec()), ("timeline.csv", b"a,b\n1,2\n".to_vec())]);
    assert!(
        text.contains("constants.json:1") && text.contains("no column `t`") && text.contains("kind Action"),
        "{text}"
    );
    let text = problems(&files("constants.json", "\"bound_to_running_s\": 2.0", "\"bound_to_running_s\": -2"));
    assert!(text.contains("bound_to_running_s"), "{text}");
    let text = problems(&files("timeline.csv", "scale 2 -> 3", "total load := lots"));
    assert!(!text.contains("panicked"), "{text}");
    let text = problems(&files("timeline.csv", "0.0,Action,,trigger,scale 2 -> 3\n", ""));
    assert!(text.contains("no action sends the manifest `patch`"), "{text}");
    let text = problems(&files("manifests/03-patch.yaml", "deployments/web", "widgets/web"));
    assert!(text.contains("not modelled"), "{text}");
}

#[test]
fn damaged_recordings_never_make_the_reader_panic() {
    let mut state = 7_u64;
    let mut roll = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below.max(1)
    };
    for case in 0..80 {
        let mut files: Vec<(&str, Vec<u8>)> = files("", "", "");
        let which = roll(files.len());
        let bytes = &mut files[which].1;
        match roll(4) {
            0 => bytes.truncate(roll(bytes.len())),
            1 => drop(bytes.remove(roll(bytes.len()))),
            2 => bytes.insert(roll(bytes.len()), b"09-\x00\xff{[:,'"[roll(9)]),
            _ => {
                let at = roll(bytes.len());
                bytes.splice(at..at, *b"99999999999");
            }
        }
        with_recording(&format!("replay-damage-{case}"), &files, |folder| {
            if let Ok(loaded) = load(folder) {
                let mut plan = loaded.plan;
                plan.limits.events_max = 20_000;
                replay(&plan, &loaded.recording);
            }
        });
    }
}

#[test]
fn half_a_file_of_a_recording_is_no_file() {
    let refused = |files: &[(&str, Vec<u8>)]| {
        with_recording("replay-half", files, |folder| {
            load(folder).map(|_| ()).map_err(|problems| problems.render(false))
        })
    };
    assert_eq!(refused(&files("", "", "")), Ok(()));
    let cut = |which: &str, most: usize| {
        let mut all = files("", "", "");
        let (_, bytes) = all.iter_mut().find(|(name, _)| *name == which).expect("it is one of them");
        bytes.truncate(bytes.len() - most);
        refused(&all).expect_err(which)
    };
    assert!(cut("summary.json", 5).contains("summary.json:1:"), "with the place where it ends");
    assert!(cut("constants.json", 5).contains("constants.json:1:"));
    assert!(cut("timeline.csv", 1).contains("its last row has no end"));
    assert!(cut("timeline.csv", 20).contains("rows are damaged"));
    let undated = files("summary.json", "2026-11-23T03", "2026-11-23Q03");
    assert!(refused(&undated).expect_err("no time").contains("trigger.utc: expected a time"));

    // Half an audit log, and a timeline that stops long before it.
    let packed = |text: &str| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packer, text.as_bytes()).expect("into memory");
        packer.finish().expect("into memory")
    };
    let audit = "t,latency_ms,user,verb,resource,subresource,namespace,name,code\n20.0,3.0,kwok,patch,pods,status,default,web-c,200\n";
    let with_audit = |bytes: Vec<u8>, timeline: &str| {
        let mut all = files("timeline.csv", "", "");
        all.push(("audit.csv.gz", bytes));
        all.iter_mut().find(|(name, _)| *name == "timeline.csv").expect("it is there").1 = timeline.as_bytes().to_vec();
        refused(&all)
    };
    assert_eq!(with_audit(packed(audit), TIMELINE), Ok(()));
    let whole = packed(audit);
    assert!(with_audit(whole[..whole.len() / 2].to_vec(), TIMELINE).expect_err("half").contains("cannot be unpacked"));
    assert!(
        with_audit(packed(&audit.replace("20.0,", "x,")), TIMELINE).expect_err("no time").contains("row 1 is damaged")
    );
    let stopped = &TIMELINE[..TIMELINE.find("5.12,Pod,web-c").expect("its last pod")];
    assert!(with_audit(packed(audit), stopped).expect_err("cut off").contains("goes on until 20.0 s"));
}
