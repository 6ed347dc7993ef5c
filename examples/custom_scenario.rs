//! A what-if in code: the shipped scenario with other minimum replicas, and what that does to lost requests and cost.

use kubelapse::analysis;
use kubelapse::scenario::{self, LoadOptions};
use kubelapse::study;
use kubelapse::world::REQUEST;
use std::path::Path;
use std::sync::Arc;

fn main() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/scale-up.yaml");
    let plan = match scenario::load(&path, &LoadOptions::default()) {
        Ok(loaded) => loaded.plan,
        Err(problems) => {
            eprint!("{}", problems.render(false));
            return;
        }
    };
    println!("min replicas   requests lost   cost of the run");
    for min_replicas in [3, 6, 9, 12] {
        let mut plan = plan.clone();
        Arc::make_mut(&mut plan.hpas[0]).min_replicas = min_replicas;
        Arc::make_mut(&mut plan.deployments[0]).replicas = min_replicas;
        // As many nodes at the start as the replicas need: three pods fit on one.
        let node = plan.nodes[0].clone();
        plan.nodes = (0..(min_replicas as usize).div_ceil(3))
            .map(|n| kubelapse::plan::InitialNode { name: format!("initial-{n}"), ..node.clone() })
            .collect();
        let outcome = study::run_once(&plan, 0, false);
        let analysis = analysis::analyze(&plan, &outcome.world, &outcome.recorder);
        let lost: u64 = outcome.world.ledgers.iter().map(|ledger| ledger.total.lost_all()).sum();
        let cost = analysis.totals.cost.dollars();
        println!("{min_replicas:>12}   {:>13}   ${cost:.4}", lost / REQUEST);
    }
}
