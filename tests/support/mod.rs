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
