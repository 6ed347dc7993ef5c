//! `kubelapse drain`: the smallest preStop and grace period that lose no request at a given confidence.

use super::{Failure, ScenarioArguments, Told, print, tell};
use crate::engine::Span;
use crate::plan::{AppId, Plan, TrafficMode};
use crate::render::drain::{Row, chart, clock, manifest, paragraphs, requests};
use crate::render::text::{plural, tenths};
use crate::rules::expectation::Verdict;
use crate::study::drain::{Answer, Point, Question, Refusal, drain as study};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Arguments {
    /// Scenario file
    #[arg(value_name = "SCENARIO")]
    scenario: PathBuf,
    /// Whose pods [default: the only service with traffic]
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Replications of each preStop
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    runs: u64,
    /// At least this share of runs shall lose nothing
    #[arg(long, value_name = "SHARE", default_value = "95%", value_parser = share)]
    share: f64,
    /// Confidence of that statement
    #[arg(long, value_name = "SHARE", default_value = "95%", value_parser = share)]
    confidence: f64,
    #[command(flatten)]
    common: ScenarioArguments,
}

fn share(text: &str) -> Result<f64, String> {
    let (number, unit) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let value = number.trim().parse::<f64>().map_err(|_| "expected a share such as 95% or 0.95".to_string())? / unit;
    if value > 0.0 && value < 1.0 { Ok(value) } else { Err("expected a share between 0% and 100%".to_string()) }
}

pub fn drain(arguments: &Arguments) -> Result<ExitCode, Failure> {
    arguments.common.needs_chance("`drain` asks in what share of runs with chance nothing is lost")?;
    let loaded = arguments.common.load(&arguments.scenario, Told::Warnings)?;
    let plan = &loaded.plan;
    let app = app(plan, arguments.service.as_deref())?;
    let Arguments { runs, share, confidence, .. } = *arguments;
    let question = Question { app, replications: runs, share, confidence };
    let watched = std::io::stderr().is_terminal();
    let answer = arguments.common.with_threads(|| {
        study(plan, question, |pre_stop| {
            if watched {
                tell(&format!("\r{runs} runs with a preStop of {pre_stop} ...   "));
            }
        })
    })?;
    if watched {
        tell(&format!("\r{:60}\r", ""));
    }
    let answer = match answer {
        Ok(answer) => answer,
        Err(Refusal::NothingIsDeleted) => {
            let text = "error: no pod of it is deleted in this scenario, and the run is too short for a rolling restart\n  \
                        help: add actions: [{ at: 2m, rollout: { deployment: NAME } }], or --until 10m\n";
            return Err(Failure::Input(text.to_string()));
        }
        Err(Refusal::NothingIsServed { deletions, offered }) => {
            print(&nothing_concluded(plan, question, deletions, offered));
            return Ok(ExitCode::from(3));
        }
    };
    print(&page(plan, &answer));
    Ok(match (&answer.best, answer.allowed) {
        (_, None) => ExitCode::from(3),
        (None, Some(_)) if answer.may_hold() => ExitCode::from(3),
        (None, Some(_)) => ExitCode::from(1),
        (Some(_), Some(_)) => ExitCode::SUCCESS,
    })
}

/// The service that is meant.
fn app(plan: &Plan, name: Option<&str>) -> Result<AppId, Failure> {
    let with_traffic = || plan.apps.iter().enumerate().filter(|(_, app)| app.cores.is_none());
    let names = || with_traffic().map(|(_, app)| app.name.clone()).collect::<Vec<_>>().join(", ");
    let found: Vec<usize> = match name {
        Some(name) => with_traffic().filter(|(_, app)| app.name == name).map(|(index, _)| index).collect(),
        None => with_traffic().filter(|(_, app)| !app.traffic.points.is_empty()).map(|(index, _)| index).collect(),
    };
    match found.as_slice() {
        [only] => Ok(AppId::at(*only)),
        [] if names().is_empty() => Err(Failure::Input(
            "error: no service of the scenario has traffic, and `drain` counts requests\n  help: give it `traffic:` and \
             `services:`, see docs/scenario.md; `load:` has no requests\n"
                .to_string(),
        )),
        [] => Err(Failure::Input(format!(
            "error: the scenario has no such service with traffic\n  it has: {}\n",
            names()
        ))),
        _ => Err(Failure::Input(format!("error: which service? give --service, one of {}\n", names()))),
    }
}

/// Where no request was answered, none could be lost by leaving, and any preStop would look safe.
fn nothing_concluded(plan: &Plan, question: Question, deletions: u64, offered: bool) -> String {
    let name = &plan.apps[question.app.index()].name;
    let why = if offered {
        format!(
            "Requests came, and none was answered: `kubelapse explain --lost-requests` says what became of them, and the \
             warnings of the scenario may say why {name} serves nothing."
        )
    } else {
        format!("Nobody sent any: give {name} traffic at the time of the deletions.")
    };
    let head = format!("{}: nothing can be concluded about {name}.", plan.name);
    let runs = question.replications;
    let body = format!(
        "In up to {runs} runs its pods were deleted {deletions} times, and in the seconds around that the service answered no \
         request. What serves nothing loses nothing, with any preStop. {why}"
    );
    paragraphs(&[head, body]).trim_start().to_string()
}

fn page(plan: &Plan, answer: &Answer) -> String {
    let Question { app, replications, share, confidence } = answer.question;
    let name = &plan.apps[app.index()].name;
    let runs = plural(replications as usize, "run");
    let mut head = format!(
        "{}: requests lost at pods of {name} on their way out, {runs} of each preStop with the same draws.",
        plan.name
    );
    if let Some(left) = answer.points.iter().map(|point| point.lost.len() as u64).find(|&runs| runs < replications) {
        head += &format!(" A preStop that has lost too often by then is left after {left}.");
    }
    if let Some(at) = answer.added {
        head += &format!(" Nothing is deleted in this scenario: a rolling restart at {} was added.", clock(plan, at));
    }
    let row = |point: &Point| Row {
        pre_stop: point.pre_stop,
        mean: point.mean(),
        p95: point.p95(),
        clean: point.lost.len() as u64 - point.losing(),
        runs: point.lost.len() as u64,
        holds: answer.allowed.is_some_and(|allowed| point.losing() <= allowed),
    };
    let rows: Vec<Row> = answer.points.iter().map(row).collect();
    let mut out = paragraphs(&[head]).trim_start().to_string();
    out.push('\n');
    out += &chart(&rows);
    out += "          mean of a run, and (light) what 95% of the runs do not exceed\n";
    let mut texts = vec![verdict(answer, share, confidence)];
    texts.push(present(answer));
    texts.extend(answer.best.as_ref().map(|best| about_grace(best, answer.present.1)));
    texts.extend(remarks(plan, answer));
    out += &paragraphs(&texts);
    if let Some(best) = &answer.best {
        out.push('\n');
        out += &manifest(container(plan, answer), best.pre_stop, best.grace, answer.present.1);
    }
    out
}

fn verdict(answer: &Answer, share: f64, confidence: f64) -> String {
    let percent = |value: f64| format!("{}%", (value * 1e4).round() / 1e2);
    let meaning = format!("with {} confidence at least {} of runs lose nothing", percent(confidence), percent(share));
    match (&answer.best, answer.allowed) {
        (_, None) => format!(
            "Undecided: {} runs are too few to say that {meaning}; that needs at least {} without a loss. Give --runs.",
            answer.question.replications,
            (1..).find(|&runs| crate::study::drain::losses_allowed(runs, share, confidence).is_some()).unwrap_or(0)
        ),
        (None, Some(_)) if answer.may_hold() => format!(
            "Undecided: no preStop is sure to hold with {} runs, but with more one may ({meaning}). Give --runs {}.",
            answer.question.replications,
            answer.question.replications * 4
        ),
        (None, Some(_)) => format!(
            "No preStop up to {} holds: not even with ample grace. Losses then have another cause than propagation, such as \
             a controller that is down; `kubelapse explain --lost-requests` tells.",
            answer.points.last().map_or_else(String::new, |point| point.pre_stop.to_string())
        ),
        (Some(best), Some(_)) => {
            format!("Smallest that holds: preStop {}, grace period {}: {meaning}.", best.pre_stop, best.grace)
        }
    }
}

/// The container whose preStop was tried.
fn container<'a>(plan: &'a Plan, answer: &Answer) -> &'a str {
    let deployment = plan.apps[answer.question.app.index()].deployment;
    let template = plan.template(plan.deployments[deployment.index()].template);
    template.containers.first().map_or("", |container| &container.name)
}

fn present(answer: &Answer) -> String {
    let (pre_stop, grace) = answer.present;
    let point = &answer.as_is;
    let losses = if point.losing() == 0 {
        "no run lost a request".to_string()
    } else {
        let (mean, runs) = (requests(point.mean()), point.lost.len());
        format!("{} of {runs} runs lost requests, {mean} on average", point.losing())
    };
    let verdict = match answer.verdict(point) {
        Verdict::Holds => "that holds",
        Verdict::Fails => "that does not hold",
        Verdict::Undecided => "these runs are too few to tell whether that holds; give more by --runs",
    };
    format!("The manifests say preStop {pre_stop}, grace period {grace}: {verdict} ({losses}).")
}

/// What the grace period is made of, and what to make of a longer one in the manifests.
fn about_grace(best: &Point, present: Span) -> String {
    let longest = best.longest.last().copied().unwrap_or(Span::ZERO);
    let mut text = format!(
        "A grace period is a limit, not a wait: a pod that has stopped is gone at once. {} covers the preStop and the stop \
         behind it; with it the longest of {} terminations of pods that ran took {}.",
        best.grace,
        best.terminations,
        tenths(longest)
    );
    if present > best.grace {
        text += &format!(
            " With this preStop the longer {present} of the manifests loses nothing either: it is kept below, as requests may last \
             longer than those of this scenario. Shorten it only where what hangs should end sooner, or a node waits for it."
        );
    } else if present < best.grace {
        text += &format!(" The {present} of the manifests is less: the kubelet would kill what is still at work then.");
    }
    text
}

fn remarks(plan: &Plan, answer: &Answer) -> Vec<String> {
    let mut remarks = Vec::new();
    let app = &plan.apps[answer.question.app.index()];
    if let (Some(best), Some(group)) = (&answer.best, app.target_group) {
        let delay = plan.target_groups[group.index()].deregistration_delay;
        let grace = best.grace.max(answer.present.1);
        if delay > grace {
            remarks.push(format!(
                "The deregistration delay of {delay} outlasts the grace period: it protects requests in flight only while \
                 the pod lives."
            ));
        }
        if grace > Span::from_secs(110) {
            remarks
                .push("A spot interruption leaves 120 s: a grace period of 110 s or more does not fit in.".to_string());
        }
    }
    if app.target_group.is_none() {
        let text = "No target group: requests are taken to reach only pods that are ready, at once. Of kube-proxy's delay, which a \
                    preStop must outlast too, nothing is known here.";
        remarks.push(text.to_string());
    }
    if app.mode == TrafficMode::Fluid {
        remarks.push("Traffic is a flow here: parts of a request count as lost.".to_string());
    }
    remarks
}
