//! A sweep: the same replications at every point of a grid, resumed after a kill to the same bytes.
//!
//! ```text
//!  tasks (point, block of replications) ─► values ─► a line of the journal, checked by its hash
//!  journal of a killed sweep ─► the lines that are whole ─► the tasks that are left
//! ```
//! All points have the same replications, so chance is common to them. What is written at the end is made of the values of
//! all tasks in order, whether they were computed now or read back: bit by bit the same.

use super::replications::{self, Control};
use crate::analysis::observed::Observed;
use crate::analysis::sample::{Sample, Wanted};
use crate::plan::Plan;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

/// Replications of one task.
pub const BLOCK: u64 = 25;

/// The values of one replication.
pub type Values = Vec<Option<Observed>>;

/// The size of a sweep.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Points of the grid.
    pub points: usize,
    /// Replications a point.
    pub runs: u64,
    /// Values a replication.
    pub values: usize,
}

/// What a task is: its point and its block.
type Task = (usize, u64);

/// What is known of a sweep: the values of finished tasks.
#[derive(Debug, Default)]
pub struct Finished {
    tasks: BTreeMap<Task, Vec<Values>>,
}

impl Finished {
    /// Replications that need not be run again.
    pub fn runs(&self) -> u64 {
        self.tasks.values().map(|task| task.len() as u64).sum()
    }

    /// The values of each replication of each point, if all are there.
    fn complete(mut self, size: Size) -> Option<Vec<Vec<Values>>> {
        let blocks = size.runs.div_ceil(BLOCK);
        let point = |point: usize, tasks: &mut BTreeMap<Task, Vec<Values>>| {
            let runs: Option<Vec<Vec<Values>>> = (0..blocks).map(|block| tasks.remove(&(point, block))).collect();
            runs.map(|runs| runs.into_iter().flatten().collect())
        };
        (0..size.points).map(|number| point(number, &mut self.tasks)).collect()
    }
}

/// The first line of the journal of a sweep with that key.
pub fn head(key: &str) -> String {
    format!("kubelapse sweep {key}\n")
}

/// Reads what a journal holds: finished tasks, and the length of the part that is whole. A journal of another sweep, or
/// one without a whole first line, holds nothing.
pub fn resume(journal: &str, key: &str, size: Size) -> (Finished, usize) {
    let mut finished = Finished::default();
    let head = head(key);
    if !journal.starts_with(&head) {
        return (finished, 0);
    }
    let mut whole = head.len();
    for line in journal[whole..].split_inclusive('\n') {
        let Some((task, values)) = line.strip_suffix('\n').and_then(|line| read_line(line, size)) else { break };
        whole += line.len();
        finished.tasks.insert(task, values);
    }
    (finished, whole)
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// `point block value,value;value,value hash`: floats as their bits, `-` for what was not measured.
fn write_line((point, block): Task, values: &[Values]) -> String {
    let mut line = format!("{point} {block} ");
    for (number, run) in values.iter().enumerate() {
        if number > 0 {
            line.push(';');
        }
        for (index, value) in run.iter().enumerate() {
            if index > 0 {
                line.push(',');
            }
            match value {
                Some(value) => value.write(&mut line),
                None => line.push('-'),
            }
        }
    }
    let hash = hash(&line);
    let _ = writeln!(line, " {hash:016x}");
    line
}

fn read_line(line: &str, size: Size) -> Option<(Task, Vec<Values>)> {
    let (content, written) = line.rsplit_once(' ')?;
    if u64::from_str_radix(written, 16).ok()? != hash(content) {
        return None;
    }
    let mut words = content.splitn(3, ' ');
    let task: Task = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let value = |word: &str| match word {
        "-" => Some(None),
        bits => Observed::read(bits).map(Some),
    };
    let run = |text: &str| text.split(',').map(value).collect::<Option<Values>>();
    let values = words.next()?.split(';').map(run).collect::<Option<Vec<Values>>>()?;
    let right = values.len() as u64 == length(task.1, size) && values.iter().all(|run| run.len() == size.values);
    (right && task.0 < size.points).then_some((task, values))
}

/// Replications of a block: the last may be shorter.
fn length(block: u64, size: Size) -> u64 {
    BLOCK.min(size.runs.saturating_sub(block * BLOCK))
}

/// Computes what is not finished, on all threads; each task is appended to the journal when it is done. `None`: it was
/// told to stop.
///
/// # Errors
/// When the journal cannot be written.
pub fn run(
    size: Size,
    finished: Finished,
    control: Control,
    evaluate: impl Fn(usize, u64) -> Values + Sync,
    append: impl Fn(&str) -> io::Result<()> + Sync,
) -> io::Result<Option<Vec<Vec<Values>>>> {
    let blocks = size.runs.div_ceil(BLOCK);
    let all = (0..size.points).flat_map(|point| (0..blocks).map(move |block| (point, block)));
    let open: Vec<Task> = all.filter(|task| !finished.tasks.contains_key(task)).collect();
    let state = Mutex::new((finished, Ok(())));
    open.par_iter().for_each(|&(point, block)| {
        let numbers = block * BLOCK..block * BLOCK + length(block, size);
        let mut values = Vec::with_capacity(BLOCK as usize);
        for number in numbers {
            if control.stop.load(Ordering::Relaxed) {
                return;
            }
            values.push(evaluate(point, number));
            (control.done)();
        }
        let line = write_line((point, block), &values);
        let mut state = state.lock().expect("no thread panics while it holds the journal");
        if state.1.is_ok() {
            state.1 = append(&line);
            state.0.tasks.insert((point, block), values);
        }
    });
    let (finished, written) = state.into_inner().expect("no thread panics while it holds the journal");
    written.map(|()| finished.complete(size))
}

/// The values of one replication of a plan.
pub fn evaluate(plan: &Plan, number: u64, wanted: &Wanted, control: Control) -> Values {
    replications::sample(plan, number, wanted, control).values
}

/// Values as the samples of a study.
pub fn samples(values: Vec<Values>) -> Vec<Sample> {
    values.into_iter().map(|values| Sample { values, ..Sample::default() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::observed::Cut;
    use crate::engine::{Purpose, Random};
    use std::sync::atomic::AtomicBool;

    const SIZE: Size = Size { points: 3, runs: 60, values: 2 };

    fn value(point: usize, number: u64) -> Values {
        let drawn = Random::new(8, number).uniform(Purpose::named("sweep"), point as u64);
        let open = Observed { at_least: drawn / 3.0, cut: (drawn < 0.2).then_some(Cut::RunEnded) };
        vec![Some(open), (drawn < 0.7).then_some(Observed::exact(f64::INFINITY))]
    }

    fn finish(journal: &str) -> (Vec<Vec<Values>>, String, u64) {
        let stop = AtomicBool::new(false);
        let control = Control { stop: &stop, done: &|| (), check: false, antithetic: false };
        let (known, whole) = resume(journal, "key", SIZE);
        let reused = known.runs();
        let start = if whole == 0 { head("key") } else { journal[..whole].to_string() };
        let written = Mutex::new(start);
        let append = |line: &str| {
            written.lock().unwrap().push_str(line);
            Ok(())
        };
        let values = run(SIZE, known, control, value, append).unwrap().unwrap();
        (values, written.into_inner().unwrap(), reused)
    }

    /// A kill leaves the journal cut at any byte: from each the same values come, bit by bit, and what was whole is used.
    #[test]
    fn a_sweep_killed_at_any_byte_goes_on_to_the_same_values() {
        let (values, journal, _) = finish("");
        assert_eq!((values.len(), values[0].len()), (3, 60));
        let bits = |values: &[Vec<Values>]| {
            values
                .iter()
                .flatten()
                .flatten()
                .map(|value| value.map(|value| (value.at_least.to_bits(), value.cut)))
                .collect::<Vec<_>>()
        };
        for cut in 0..=journal.len() {
            let (again, whole, reused) = finish(&journal[..cut]);
            assert_eq!(bits(&again), bits(&values), "cut at {cut}");
            assert_eq!(resume(&whole, "key", SIZE).0.runs(), 180, "cut at {cut}");
            let lines = journal[..cut].matches('\n').count().saturating_sub(1) as u64;
            assert!(reused >= lines * 10 && reused <= lines * BLOCK, "cut at {cut}: {reused} of {lines} lines");
        }
    }

    #[test]
    fn a_damaged_or_foreign_journal_is_not_believed() {
        let (_, journal, _) = finish("");
        assert_eq!(resume(&journal, "another", SIZE).0.runs(), 0);
        let place = head("key").len() + 6;
        let mut damaged = journal.clone().into_bytes();
        damaged[place] = if damaged[place] == b'1' { b'2' } else { b'1' };
        let damaged = String::from_utf8(damaged).unwrap();
        assert_eq!(resume(&damaged, "key", SIZE).0.runs(), 0);
        assert_eq!(resume(&journal, "key", Size { runs: 61, ..SIZE }).0.runs() % BLOCK, 0);
    }

    #[test]
    fn told_to_stop_it_keeps_whole_tasks_only() {
        let stop = AtomicBool::new(true);
        let control = Control { stop: &stop, done: &|| (), check: false, antithetic: false };
        let done = run(SIZE, Finished::default(), control, value, |_| panic!("nothing is finished")).unwrap();
        assert!(done.is_none());
    }
}
