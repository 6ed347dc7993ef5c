//! `kubelapse explain`: what the controllers saw and why they decided as they did.

use super::{Failure, ScenarioArguments, Told, duration, print};
use crate::analysis::explain::{self, Question};
use crate::components::Outcome;
use crate::engine::Span;
use crate::plan::Plan;
use crate::study;
use crate::world::{PodId, World};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Arguments {
    /// Scenario file
    #[arg(value_name = "SCENARIO")]
    scenario: PathBuf,
    /// The story of this pod, such as wordpress-r1-4: why it waited, where it went, when it served, why it went
    #[arg(long, value_name = "NAME")]
    pod: Option<String>,
    /// The story of this node or NodeClaim: why it was bought, of what type, why it stays or goes
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// The story of this target of a load balancer: an address, address:port, or the name of its pod
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Only syncs of this autoscaler, and what its target removed
    #[arg(long, value_name = "NAME")]
    hpa: Option<String>,
    /// Everything decided since the last sync before this moment of the run, such as 5m30s; a story until then
    #[arg(long, value_name = "TIME", value_parser = duration)]
    at: Option<Span>,
    /// The requests that were lost: by cause, with the window in which they fell, the pods, and what had happened there
    #[arg(long, conflicts_with_all = ["pod", "node", "hpa", "at"])]
    lost_requests: bool,
    /// Which of many runs: N is the row `run` of runs.csv (with --noise on, or a scenario that says so)
    #[arg(long, value_name = "N")]
    replication: Option<u64>,
    #[command(flatten)]
    common: ScenarioArguments,
}

pub fn explain(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let loaded = arguments.common.load(&arguments.scenario, Told::Warnings)?;
    let plan = &loaded.plan;
    if arguments.replication.is_some() && !plan.noise {
        let text = "error: without chance there is one run: give --noise on with --replication\n";
        return Err(Failure::Input(text.to_string()));
    }
    let length = plan.until.since(plan.start);
    if let Some(at) = arguments.at.filter(|&at| at > length) {
        let text = format!(
            "error: --at {at} lies behind the end of the run, which lasts {length}: see `run.until`, or give --until\n"
        );
        return Err(Failure::Input(text));
    }
    let outcome = study::run_explained(plan, arguments.replication.unwrap_or(0));
    if arguments.lost_requests {
        print(&study::explain_losses(plan, &outcome));
        return Ok(ExitCode::SUCCESS);
    }
    let world = &outcome.world;
    let at = arguments.at.map(|span| plan.start + span);
    let (mut question, mut asked) = (Question { at, ..Question::default() }, Vec::new());
    let mut lives = Vec::new();
    if let Some(name) = &arguments.hpa {
        let names = world.hpas.iter().map(|hpa| hpa.spec.name.clone());
        question.hpa =
            Some(explain::hpa_named(world, name).ok_or_else(|| unknown("autoscaler", name, names.collect()))?);
        asked.push(format!("hpa/{name}"));
    }
    if let Some(name) = &arguments.pod {
        lives = explain::pods_named(world, name);
        if lives.is_empty() {
            return Err(unknown("pod", name, pod_names(world)));
        }
        asked.push(format!("pod/{name}"));
    }
    if let Some(name) = &arguments.node {
        let nodes = world.nodes.iter().map(|node| node.name.to_string());
        let without = world.claims.iter().filter(|claim| claim.node.is_none());
        let names = nodes.chain(without.map(|claim| claim.name.to_string()));
        question.node = Some(explain::node_named(world, name).ok_or_else(|| unknown("node", name, names.collect()))?);
        asked.push(format!("node/{name}"));
    }
    if let Some(name) = &arguments.target {
        question.targets = explain::targets_named(world, name);
        if question.targets.is_empty() {
            return Err(unknown("target", name, target_names(world)));
        }
        asked.push(format!("target/{name}"));
    }
    let nothing = if at.is_some() { "what was decided last" } else { "why the number of pods changed" };
    let mut text = if asked.is_empty() { nothing.to_string() } else { asked.join(" and ") };
    if let Some(span) = arguments.at {
        text += &format!(", as it stood at {span}");
    }
    print(&stories(plan, &outcome, &question, &lives, &text));
    Ok(ExitCode::SUCCESS)
}

/// The story that is asked for; of several pods that had one name, at a moment that of the one which lived then, else of each.
fn stories(plan: &Plan, outcome: &Outcome, question: &Question, lives: &[PodId], asked: &str) -> String {
    if lives.is_empty() {
        return study::explain(plan, outcome, question, asked);
    }
    let then = question.at.and_then(|at| explain::life_at(&outcome.world, lives, at));
    let told = lives.iter().enumerate().filter(|&(_, &pod)| then.is_none_or(|then| then == pod));
    let stories = told.map(|(index, &pod)| {
        let question = Question { pod: Some(pod), ..question.clone() };
        let which = match lives.len() {
            1 => String::new(),
            count => format!(", life {} of {count}", index + 1),
        };
        study::explain(plan, outcome, &question, &format!("{asked}{which}"))
    });
    stories.collect::<Vec<_>>().join("\n")
}

fn pod_names(world: &World) -> Vec<String> {
    world.pods.iter().map(|pod| world.pod_name(pod.id)).collect()
}

fn target_names(world: &World) -> Vec<String> {
    world.targets.iter().map(|target| format!("{}:{}", target.address, target.port)).collect()
}

fn unknown(kind: &str, name: &str, names: Vec<String>) -> Failure {
    const SHOWN: usize = 8;
    // One of a StatefulSet comes back under the name it had.
    let mut seen = BTreeSet::new();
    let names: Vec<String> = names.into_iter().filter(|name| seen.insert(name.clone())).collect();
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    let has = if names.is_empty() { format!("it has no {kind} at all") } else { format!("it has: {shown}{more}") };
    Failure::Input(format!("error: the run has no {kind} `{name}`\n  {has}\n"))
}
