//! What several integration tests share.

use kubelapse::plan::Plan;
use kubelapse::scenario::{self, LoadOptions};
use std::path::{Path, PathBuf};

/// The root of the checkout.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A shipped scenario as a plan.
pub fn shipped(name: &str) -> Plan {
    load(&root().join("scenarios").join(format!("{name}.yaml")))
}

/// Any scenario as a plan.
pub fn load(path: &Path) -> Plan {
    match scenario::load(path, &LoadOptions::default()) {
        Ok(loaded) => loaded.plan,
        Err(problems) => panic!("{}", problems.render(false)),
    }
}

/// A scenario written for one test: `manifests.yaml` and `scenario.yaml` in a folder of its own.
pub fn written(name: &str, manifests: &str, scenario: &str) -> Plan {
    let folder = std::env::temp_dir().join(format!("kubelapse-{name}-{}", std::process::id())).join("scenarios");
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    std::fs::write(folder.join("manifests.yaml"), manifests).expect("manifests are written");
    let path = folder.join("scenario.yaml");
    std::fs::write(&path, scenario).expect("a scenario is written");
    let plan = load(&path);
    std::fs::remove_dir_all(folder.parent().expect("a folder of its own")).expect("the folder goes");
    plan
}

/// The scenarios that the README names.
pub const SHIPPED: [&str; 3] = ["scale-up", "scale-down", "spot-replacement"];

pub mod autoscaler;

/// A file of the shared data, read in place: below `KUBELAPSE_SHARED`, or else `../shared`. Where it is absent the test
/// says so and has nothing to check.
pub fn shared(name: &str) -> Option<String> {
    let folder = std::env::var_os("KUBELAPSE_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let text = std::fs::read_to_string(folder.join(name)).ok();
    if text.is_none() {
        println!("SKIPPED (1): {name} is not below {}", folder.display());
    }
    text
}
