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
