//! Sweeps and comparisons as a whole: from a study or two plans to their results.

use super::replications::{self, Control};
use super::sweep;
use crate::analysis::gate::Gate;
use crate::analysis::grid::{Grid, Point};
use crate::analysis::paired::{self, Difference};
use crate::analysis::runs::Runs;
use crate::analysis::sample::Wanted;
use crate::analysis::statistics::LEVEL;
use crate::plan::Plan;
use crate::rules::expectation::{Measure, Scope};
use crate::scenario::diagnostic::{COMMAND_LINE, FileId};
use crate::scenario::study::Study;
use crate::scenario::vary::Setting;
use crate::scenario::{self, LoadOptions, Problems};
use std::io;

/// So many points with problems are told of.
const WRONG_MAX: usize = 100;

/// A study with the plan of each point.
pub struct Prepared {
    /// The study.
    pub study: Study,
    plans: Vec<Plan>,
    wanted: Wanted,
    /// What identifies all its inputs.
    pub key: String,
    /// Its size.
    pub size: sweep::Size,
}

/// Reads the scenario of every point.
///
/// # Errors
/// The problems of all points, each once; of very many points with problems, those of the first.
pub fn prepare(study: Study, runs: Option<u64>, options: &LoadOptions) -> Result<Prepared, Problems> {
    let study = Study { runs: runs.unwrap_or(study.runs), ..study };
    let mut plans = Vec::with_capacity(study.points());
    let (mut wrong, mut told) = (0, Problems::new());
    for point in 0..study.points() {
        let values = study.vary.iter().zip(study.values_at(point));
        let own = values.map(|(parameter, value)| Setting { field: parameter.field.clone(), value: value.to_string() });
        let set = options.set.iter().cloned().chain(own).collect();
        let loaded = scenario::load(&study.base, &LoadOptions { set, noise: Some(true), ..options.clone() });
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(problems) => {
                told.adopt_all(&of_study(problems, &study));
                wrong += 1;
                if wrong == WRONG_MAX {
                    break;
                }
                continue;
            }
        };
        if let (0, Some(problems)) = (point, scenario::unasked_data(options, [&loaded])) {
            return Err(problems);
        }
        plans.push(replications::without_advice(&loaded.plan));
    }
    if wrong > 0 {
        return Err(told.without_copies());
    }
    let mut wanted = Wanted::default();
    study.quantities().into_iter().for_each(|check| {
        wanted.expectation(check);
    });
    wanted.causes.clear();
    let version = env!("CARGO_PKG_VERSION");
    let hash = plans.iter().fold(String::new(), |hashes, plan| hashes + &plan.hash + &plan.seed.to_string());
    let text = format!("{}{hash}{:?}", study.hash, (study.runs, plans.first().map(|plan| (plan.until, plan.start))));
    let mut key = 0xcbf2_9ce4_8422_2325_u64;
    text.bytes().for_each(|byte| key = (key ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let size = sweep::Size { points: plans.len(), runs: study.runs, values: wanted.quantities.len() };
    Ok(Prepared { study, plans, wanted, key: format!("{version} {key:016x}"), size })
}

/// A value as people read it.
fn unquoted(value: &str) -> String {
    let inner = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    inner.map_or_else(|| value.to_string(), |inner| inner.replace("''", "'"))
}

/// Fields that the study varies are the study's, not the command line's: what is wrong with them stands there.
fn of_study(mut problems: Problems, study: &Study) -> Problems {
    for index in 0..problems.sources.len() {
        let source = &problems.sources[index];
        let Some((field, value)) = source.text.split_once('=').filter(|_| source.path == COMMAND_LINE) else {
            continue;
        };
        let Some(parameter) = study.vary.iter().find(|parameter| parameter.field == field) else { continue };
        let value = value.to_string();
        problems.stand_in(FileId(index as u32), study.source.clone(), |place| parameter.place(&value, place));
    }
    problems
}

impl Prepared {
    /// Runs what is left of the sweep. `None`: it was told to stop.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn run(
        &self,
        finished: sweep::Finished,
        control: Control,
        append: impl Fn(&str) -> io::Result<()> + Sync,
    ) -> io::Result<Option<Grid>> {
        let evaluate = |point: usize, number: u64| sweep::evaluate(&self.plans[point], number, &self.wanted, control);
        Ok(sweep::run(self.size, finished, control, evaluate, append)?.map(|values| self.grid(values)))
    }

    fn grid(&self, values: Vec<Vec<sweep::Values>>) -> Grid {
        let study = &self.study;
        let points = values.into_iter().enumerate().map(|(number, values)| {
            let samples = sweep::samples(values);
            let runs = Runs { wanted: self.wanted.clone(), samples, interrupted: false, level: LEVEL };
            Point {
                values: study.values_at(number).into_iter().map(unquoted).collect(),
                measures: study.measure.iter().map(|check| runs.judge(check)).collect::<Vec<Gate>>(),
                holds: study.hold.iter().map(|check| runs.judge(check)).collect(),
                minimise: study.minimise.as_ref().map(|check| runs.judge(check)),
            }
        });
        let texts = |checks: &[crate::rules::expectation::Expectation]| checks.iter().map(|c| c.text.clone()).collect();
        Grid {
            name: study.name.clone(),
            about: study.about.clone(),
            hash: self.key.rsplit(' ').next().unwrap_or_default().to_string(),
            seed: self.plans.first().map_or(0, |plan| plan.seed),
            runs: study.runs,
            parameters: study.vary.iter().map(|parameter| parameter.name.clone()).collect(),
            sizes: study.vary.iter().map(|parameter| parameter.values.len()).collect(),
            measures: texts(&study.measure),
            holds: texts(&study.hold),
            minimise: study.minimise.as_ref().map(|check| check.text.clone()),
            points: points.collect(),
        }
    }
}

/// Two plans with the same chance: the differences of all measures of whole runs. Both have the seed of the first.
pub fn compare(first: &Plan, second: &Plan, count: u64, control: Control) -> (usize, Vec<Difference>) {
    let first = Plan { noise: true, ..first.clone() };
    let second = Plan { noise: true, seed: first.seed, ..second.clone() };
    let mut wanted = Wanted::default();
    for &measure in Measure::ALL {
        wanted.quantity(measure, &Scope::default());
    }
    wanted.causes.clear();
    let mut ones = replications::fixed(&first, count, wanted.clone(), control);
    let others = replications::fixed(&second, ones.samples.len() as u64, wanted, control);
    ones.samples.truncate(others.samples.len());
    (ones.samples.len(), paired::differences(&ones, &others))
}
