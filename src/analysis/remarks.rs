//! What a user should know of his own actions after a run: those that found nothing, that did not end, or that were undone.
//!
//! In: the plan and the record. Out: sentences, for the screen and `summary.json`.

use crate::engine::Time;
use crate::plan::{DeploymentId, Plan};
use crate::record::Recorder;
use crate::world::{Change, World};

/// The remarks on a finished run.
pub fn remarks(plan: &Plan, world: &World, recorder: &Recorder) -> Vec<String> {
    let at = |at: Time| at.since(plan.start);
    let actions = recorder.shortfalls.iter().filter_map(|one| {
        let words = plan.actions[one.action.index()].words(plan)?;
        Some(format!("{words} at {}: {}", at(one.at), one.why))
    });
    let faults = recorder.idle_faults.iter().map(|(when, id)| {
        let words = plan.faults[id.index()].words(plan);
        format!("fault at {}, {words}: it found nothing that it could hit", at(*when))
    });
    actions.chain(faults).chain(taken_back(plan, world, recorder)).collect()
}

/// Sizes that a user wrote and that an autoscaler replaced in the other direction.
fn taken_back(plan: &Plan, world: &World, recorder: &Recorder) -> Vec<String> {
    let mut written: Vec<Option<(Time, i32, i32)>> = vec![None; plan.deployments.len()];
    let mut found = Vec::new();
    for fact in &recorder.facts {
        let Change::DeploymentScaled { deployment, from, to, by } = fact.change else { continue };
        let Some(last) = written.get_mut(deployment.index()) else { continue };
        match (by, *last) {
            (None, _) => *last = Some((fact.at, from, to)),
            (Some(hpa), Some((when, before, size))) => {
                *last = None;
                if (size > before) == (to < from) {
                    let (name, hpa) = (name(plan, deployment), &world.hpas[hpa.index()].spec.name);
                    let (when, now) = (when.since(plan.start), fact.at.since(plan.start));
                    found.push(format!(
                        "the {size} replicas of {name} that a user wrote at {when} did not last: autoscaler {hpa} wrote {to} at {now}"
                    ));
                }
            }
            (Some(_), None) => {}
        }
    }
    found
}

fn name(plan: &Plan, deployment: DeploymentId) -> &str {
    &plan.deployments[deployment.index()].name
}
