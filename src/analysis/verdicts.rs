//! How a scenario's claims and expectations came out: what text, JUnit, Markdown and annotations are made of.

use crate::rules::expectation::Verdict;

/// One claim or expectation.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The claim in its author's words; `None`: an expectation.
    pub claim: Option<String>,
    /// What was checked, as written.
    pub check: String,
    /// How it came out.
    pub verdict: Verdict,
    /// How it was expected to come out.
    pub expected: Verdict,
    /// The value with its interval.
    pub interval: String,
    /// In words.
    pub explanation: String,
    /// What takes most of the time: `41 % of the tail is boot`.
    pub cause: Option<String>,
    /// Why the author expects this verdict.
    pub because: String,
    /// Runs that it rests on.
    pub runs: usize,
}

impl Line {
    /// It came out as expected.
    pub fn is_as_expected(&self) -> bool {
        self.verdict == self.expected
    }
}

/// Why a scenario could not be judged at all: an error of its files.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// File, line and column; `None`: it is about no file.
    pub place: Option<(String, u32, u32)>,
    /// Its code, such as `E010`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// A scenario's claims and expectations.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The scenario's name.
    pub name: String,
    /// Its file, as the user named it.
    pub path: String,
    /// How the exact run came out, in a sentence; `None`: nothing is said of one run.
    pub headline: Option<String>,
    /// Claims, then expectations.
    pub lines: Vec<Line>,
    /// What a user should know of his own actions and faults, such as those that found nothing: what holds may hold because of that.
    pub remarks: Vec<String>,
    /// Runs with chance.
    pub runs: usize,
    /// They were stopped before their end.
    pub interrupted: bool,
    /// Seed of all chance.
    pub seed: u64,
    /// Errors of its files: then nothing was run.
    pub faults: Vec<Fault>,
    /// File, line and column of each of the lines, where that is known.
    pub places: Vec<Option<(String, u32, u32)>>,
}

impl Report {
    /// The report of a scenario that could not be read.
    pub fn of_unread(name: String, path: String, faults: Vec<Fault>) -> Report {
        let (lines, remarks, places) = (Vec::new(), Vec::new(), Vec::new());
        Report { name, path, headline: None, lines, remarks, runs: 0, interrupted: false, seed: 0, faults, places }
    }

    /// It could not be read.
    pub fn is_unread(&self) -> bool {
        !self.faults.is_empty()
    }

    /// A verdict is not the expected one, and not for want of runs alone.
    pub fn failed(&self) -> bool {
        let wrong = |line: &&Line| !line.is_as_expected() && line.verdict != Verdict::Undecided;
        self.lines.iter().filter(wrong).count() > 0
    }

    /// Something is undecided that should not be.
    pub fn undecided(&self) -> bool {
        self.lines.iter().any(|line| !line.is_as_expected() && line.verdict == Verdict::Undecided)
    }
}
