//! How each fault and each action is written: their keys, and the shape of what stands behind them.
//!
//! In: what a user wrote behind `faults:` or `actions:`. Out: the one key that says what happens, if its value has a shape that
//! it can have; else a problem that shows how it is written.

use super::diagnostic::{Diagnostic, Problems};
use super::reader::Fields;
use super::yaml::{Node, Value};

/// A key, and all shapes that its value may have, each by an example. `""` is no value.
pub(super) type Form = (&'static str, &'static [&'static str]);

/// What can go wrong.
pub(super) const FAULTS: [Form; 16] = [
    ("spot_interruption", &["", "{ instance_type: t3.medium, zone: us-east-1a }"]),
    ("rebalance_recommendation", &["", "{ zone: us-east-1a }"]),
    ("spot_price", &["{ instance_type: m5.large, factor: 2 }"]),
    ("node_failure", &["fullest"]),
    ("node_unhealthy", &["fullest", "{ node: fullest, condition: KernelReady }"]),
    ("insufficient_capacity", &["", "{ capacity_type: spot }"]),
    ("health_check_fails", &["web"]),
    ("security_group_blocks", &["web", "{ target_group: web }"]),
    ("subnet_full", &["", "us-east-1a"]),
    ("zone_failure", &["us-east-1a"]),
    ("controller_without_permission", &["register"]),
    ("load_balancer_throttling", &["0.9"]),
    ("controller_down", &["karpenter"]),
    ("slowdown", &["{ service: web, factor: 3 }"]),
    ("slow_registry", &["4"]),
    ("pod_calls_fail", &["create"]),
];

/// What an operator can do.
pub(super) const ACTIONS: [Form; 18] = [
    ("scale", &["{ deployment: web, replicas: 8 }"]),
    ("rollout", &["{ deployment: web }", "{ deployment: web, image: web:2 }"]),
    ("pause", &["{ deployment: web }"]),
    ("resume", &["{ deployment: web }"]),
    ("undo", &["{ deployment: web, to_revision: 1 }"]),
    ("apply", &["later.yaml"]),
    ("delete", &["HorizontalPodAutoscaler/web"]),
    ("delete_pod", &["db-0", "{ deployment: web, count: 2 }"]),
    ("delete_node_claim", &["fullest"]),
    ("delete_node", &["node-01"]),
    ("cordon", &["node-01"]),
    ("uncordon", &["node-01"]),
    ("drain", &["node-01"]),
    ("taint_node", &["{ node: all, key: maintenance, effect: NoExecute }"]),
    ("untaint_node", &["{ node: all, key: maintenance, effect: NoExecute }"]),
    ("label_node", &["{ node: node-01, key: disk, value: fast }"]),
    ("annotate_node", &["{ node: node-01, key: karpenter.sh/do-not-disrupt, value: \"true\" }"]),
    ("set_load", &["{ service: web, rate: 30/s }"]),
];

/// The one key that says what happens, with its value. It may have none (`spot_interruption:` means any).
pub(super) fn one_of<'n>(
    fields: &mut Fields<'n>,
    forms: &[Form],
    problems: &mut Problems,
) -> Option<(&'static str, &'n Node)> {
    let mut found = Vec::new();
    for form in forms {
        fields.get(form.0);
        found.extend(fields.node().get(form.0).map(|node| (form, node)));
    }
    match found.as_slice() {
        [(form, node)] => return has_shape(form, node, &fields.at(form.0), problems).then_some((form.0, *node)),
        [] if fields.has_unknown() => {} // Whatever it is called there is told of by itself, with what is known.
        [] => {
            let names: Vec<&str> = forms.iter().map(|form| form.0).collect();
            let message = format!("{}: says when, but not what", fields.path);
            let help = format!("one of {}", names.join(", "));
            problems.push(Diagnostic::error("E018", fields.place(), message).help(help));
        }
        many => {
            let names: Vec<String> = many.iter().map(|(form, _)| format!("`{}`", form.0)).collect();
            let message = format!("{}: only one of {} can stand in one item", fields.path, names.join(", "));
            problems.push(Diagnostic::error("E018", fields.place(), message).help("write an item for each"));
        }
    }
    None
}

/// The shape of a value, as far as it can be told from outside.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Nothing,
    Word,
    Fields,
    List,
}

impl Shape {
    fn of(node: &Node) -> Shape {
        match node.value {
            Value::Null => Shape::Nothing,
            Value::Scalar(_) => Shape::Word,
            Value::Mapping(_) => Shape::Fields,
            Value::Sequence(_) => Shape::List,
        }
    }

    fn of_example(example: &str) -> Shape {
        match example.as_bytes() {
            [] => Shape::Nothing,
            [b'{', ..] => Shape::Fields,
            _ => Shape::Word,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Shape::Nothing => "nothing",
            Shape::Word => "a word",
            Shape::Fields => "a mapping of fields",
            Shape::List => "a list",
        }
    }
}

fn has_shape(&(key, examples): &Form, node: &Node, path: &str, problems: &mut Problems) -> bool {
    let shape = Shape::of(node);
    let mut shapes: Vec<Shape> = examples.iter().map(|example| Shape::of_example(example)).collect();
    if shapes.contains(&shape) {
        return true;
    }
    shapes.dedup();
    let expected: Vec<&str> = shapes.into_iter().map(Shape::words).collect();
    let written: Vec<String> =
        examples.iter().map(|example| format!("`{}`", format!("{key}: {example}").trim_end())).collect();
    let expected = expected.join(" or ");
    let message = format!("{path}: expected {expected}, found {}", node.describe());
    let help = format!("write {}", written.join(" or "));
    problems.push(Diagnostic::error("E012", node.place, message).label(format!("expected {expected}")).help(help));
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an error shows is what the page on scenarios shows.
    #[test]
    fn keys_and_examples_are_those_of_the_documentation() {
        let page = include_str!("../../docs/scenario.md");
        for (key, examples) in FAULTS.iter().chain(&ACTIONS) {
            assert!(page.contains(&format!("`{key}`")), "{key}");
            for example in examples.iter().filter(|example| !example.is_empty()) {
                assert!(page.contains(&format!("`{example}`")), "{key}: {example}");
            }
        }
    }
}
