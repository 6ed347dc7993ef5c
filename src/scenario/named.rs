//! Names of nodes and pods in actions and faults: those that nothing in this scenario could ever have are warned of.
//!
//! In: the name and what is read so far. Out: a warning with a suggestion. A node of Karpenter's is not known before the run, but the form
//! of its name is (`<pool>-07`), and so is that of a pod (`<deployment>-r1-3`): what has it may come, and the run says if it did not.

use super::Draft;
use super::diagnostic::{Diagnostic, nearest};
use super::yaml::Node;
use crate::plan::DeploymentSpec;

/// Codes of the warnings that a name finds nothing: of a node, of a pod.
pub(super) const CODES: [&str; 2] = ["W148", "W149"];

/// A node by name.
pub(super) fn check_node(name: &str, node: &Node, path: &str, draft: &mut Draft) {
    let plan = &draft.plan;
    let made = plan.node_pools.iter().any(|pool| is_numbered(name, &pool.name));
    if made || plan.nodes.iter().any(|one| one.name == name) {
        return;
    }
    let known = ["fullest", "all"].into_iter().chain(plan.nodes.iter().map(|one| one.name.as_str()));
    let message = format!("{path}: no node here could be called `{name}`");
    let warning = Diagnostic::warning("W148", node.place, message).label("finds nothing").suggest(name, known);
    draft.problems.push(warning);
}

/// A pod by name.
pub(super) fn check_pod(name: &str, node: &Node, path: &str, draft: &mut Draft) {
    let plan = &draft.plan;
    let of_revision = |own: &str| {
        let rest =
            name.strip_prefix(own).and_then(|rest| rest.strip_prefix("-r")).and_then(|rest| rest.split_once('-'));
        rest.is_some_and(|(revision, pod)| is_number(revision) && is_number(pod))
    };
    // Only the pods of a StatefulSet are called by their number alone.
    let of_workload = |one: &DeploymentSpec| match one.ordinal() {
        Some(_) => is_numbered(name, &one.name),
        None => of_revision(&one.name),
    };
    let made = plan.deployments.iter().any(|one| of_workload(one))
        || plan.daemon_sets.iter().any(|one| is_numbered(name, &one.name))
        || plan.pods.iter().any(|one| one.name == name);
    if made {
        return;
    }
    let called = |one: &DeploymentSpec| match one.ordinal() {
        Some(_) => format!("{}-0", one.name),
        None => format!("{}-r1-1", one.name),
    };
    let first: Vec<String> = plan.deployments.iter().map(|one| called(one)).collect();
    let whole = plan.deployments.iter().find(|one| one.name == name);
    let near = nearest(name, first.iter().map(String::as_str));
    let help = match (whole, near) {
        (Some(owner), _) => {
            let key = owner.kind().to_lowercase();
            Some(format!("write {{ {key}: {name}, count: 1 }} for the oldest of its pods"))
        }
        (None, Some(near)) => Some(format!("did you mean `{near}`?")),
        (None, None) => first.first().map(|first| format!("pods here are called as `{first}`")),
    };
    let message = format!("{path}: no pod here could be called `{name}`");
    let warning = Diagnostic::warning("W149", node.place, message).label("finds nothing").maybe_help(help);
    draft.problems.push(warning);
}

fn is_numbered(name: &str, of: &str) -> bool {
    name.strip_prefix(of).and_then(|rest| rest.strip_prefix('-')).is_some_and(is_number)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
