//! What is wrong with a user's files, and how it is shown: every problem of every file at once, each with its place, what
//! was expected, and what to write instead.
//!
//! In: problems from all readers. Out: text in the look of rustc, sorted by file and position, coloured only when asked.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// So many problems are kept; the rest are counted.
const KEPT_MAX: usize = 500;
/// A line longer than this is not drawn.
const LINE_MAX: usize = 400;

/// Code of a key that is not known.
const MISSPELT: &str = "E010";
/// Code of an object that is not modelled.
const PASSED_OVER: &str = "N101";
/// Name of what is no file but an argument, `--set FIELD=VALUE`.
pub const COMMAND_LINE: &str = "--set";

/// A file that was read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct FileId(pub u32);

/// A stretch of a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// Which file.
    pub file: FileId,
    /// First byte.
    pub start: u32,
    /// Byte after the last.
    pub end: u32,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Place {
    /// The beginning of a file.
    pub const fn top(file: FileId) -> Place {
        Place { file, start: 0, end: 0, line: 1, column: 1 }
    }

    /// The same place when its text stands behind so many bytes and characters of its first line.
    pub(crate) fn behind(self, bytes: u32, characters: u32) -> Place {
        let column = if self.line == 1 { self.column + characters } else { self.column };
        Place { start: self.start + bytes, end: self.end + bytes, column, ..self }
    }

    /// The bytes, cut to a text of `length` bytes.
    fn range(self, length: usize) -> Range<usize> {
        let start = (self.start as usize).min(length);
        start..(self.end as usize).clamp(start, length)
    }
}

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// Nothing runs until this is put right.
    Error,
    /// It runs, but probably not as meant.
    Warning,
    /// Worth knowing: something was assumed, converted or left out.
    Note,
}

/// One problem.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Short code, stable over releases, such as `E012`.
    pub code: &'static str,
    /// What is wrong, a lower-case sentence without full stop.
    pub message: String,
    /// Where.
    pub place: Option<Place>,
    /// A few words under the place.
    pub label: String,
    /// Other places that matter, with a few words each.
    pub related: Vec<(Place, String)>,
    /// What to do.
    pub help: Option<String>,
    /// The mapping that lacks a key, or has one that is nearly it, and that key: both are told as one.
    pub(crate) key: Option<(Place, String)>,
    /// The word that surely was meant in the place of the one at `place`.
    pub(crate) meant: Option<String>,
    /// It misses an object, which may stand in a manifest that could not be read.
    pub(crate) misses_object: bool,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(code: &'static str, place: Place, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Severity::Error, code, Some(place), message.into())
    }

    /// A warning at a place.
    pub fn warning(code: &'static str, place: Place, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Severity::Warning, code, Some(place), message.into())
    }

    /// A remark at a place.
    pub fn note(code: &'static str, place: Place, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Severity::Note, code, Some(place), message.into())
    }

    /// An error that belongs to no file.
    pub fn nowhere(code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Severity::Error, code, None, message.into())
    }

    fn new(severity: Severity, code: &'static str, place: Option<Place>, message: String) -> Diagnostic {
        let (label, related) = (String::new(), Vec::new());
        Diagnostic {
            severity,
            code,
            message,
            place,
            label,
            related,
            help: None,
            key: None,
            meant: None,
            misses_object: false,
        }
    }

    /// Adds a few words under the place.
    pub fn label(mut self, label: impl Into<String>) -> Diagnostic {
        self.label = label.into();
        self
    }

    /// Adds advice.
    pub fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    /// Says that it is about this key of the mapping there.
    pub(crate) fn about_key(mut self, mapping: Place, key: impl Into<String>) -> Diagnostic {
        self.key = Some((mapping, key.into()));
        self
    }

    /// Adds advice if there is any.
    pub fn maybe_help(mut self, help: Option<String>) -> Diagnostic {
        self.help = help.or(self.help);
        self
    }

    /// Suggests what the word at the place could have been.
    pub(crate) fn suggest<'c>(self, word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Diagnostic {
        let candidates: Vec<&str> = candidates.into_iter().collect();
        let meant = only_nearest(word, &candidates).map(str::to_string);
        Diagnostic { meant, ..self.maybe_help(suggestion(word, candidates)) }
    }

    /// Says which word surely was meant.
    pub(crate) fn maybe_meant(self, meant: Option<String>) -> Diagnostic {
        Diagnostic { meant, ..self }
    }

    /// The word at the place is the part behind this.
    pub(crate) fn meant_behind(self, before: &str) -> Diagnostic {
        let meant = self.meant.as_deref().and_then(|meant| meant.strip_prefix(before)).map(str::to_string);
        Diagnostic { meant, ..self }
    }

    /// Says that it misses an object of a manifest.
    pub(crate) fn missing_object(self) -> Diagnostic {
        Diagnostic { misses_object: true, ..self }
    }

    /// Points at another place.
    pub fn related(mut self, place: Place, label: impl Into<String>) -> Diagnostic {
        self.related.push((place, label.into()));
        self
    }

    fn order(&self) -> (Option<Place>, Severity, &'static str) {
        (self.place, self.severity, self.code)
    }
}

/// A file with its text.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Path as shown to people, from the working directory, with forward slashes.
    pub path: String,
    /// Its text.
    pub text: Arc<str>,
}

/// All files read, and all that is wrong with them.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    /// Files by [`FileId`].
    pub sources: Vec<Source>,
    list: Vec<Diagnostic>,
    errors: usize,
    dropped: usize,
    /// Some manifest could not be read: what it holds is not known.
    pub(crate) is_unread: bool,
}

impl Problems {
    /// No files, no problems.
    pub fn new() -> Problems {
        Problems::default()
    }

    /// These files and problems.
    pub(crate) fn of(sources: Vec<Source>, list: Vec<Diagnostic>) -> Problems {
        let errors = list.iter().filter(|one| one.severity == Severity::Error).count();
        Problems { sources, list, errors, dropped: 0, is_unread: false }
    }

    /// Adds a file.
    pub fn add_source(&mut self, path: impl Into<String>, text: Arc<str>) -> FileId {
        let id = FileId(u32::try_from(self.sources.len()).unwrap_or(u32::MAX));
        self.sources.push(Source { path: path.into(), text });
        id
    }

    /// The text of a stretch of a file.
    pub fn excerpt(&self, place: Place) -> &str {
        let text = self.sources.get(place.file.0 as usize).map_or("", |source| &*source.text);
        text.get(place.range(text.len())).unwrap_or("")
    }

    /// Adds a problem.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.errors += usize::from(diagnostic.severity == Severity::Error);
        if self.list.len() < KEPT_MAX {
            self.list.push(diagnostic);
        } else {
            self.dropped += 1;
        }
    }

    /// Adds a problem of other files, with those files.
    pub(crate) fn adopt(&mut self, diagnostic: &Diagnostic, sources: &[Source]) {
        let mut own = |place: Place| {
            let Some(source) = sources.get(place.file.0 as usize) else { return place };
            let known = self.sources.iter().position(|one| one.path == source.path && one.text == source.text);
            let file = match known {
                Some(index) => FileId(u32::try_from(index).unwrap_or(u32::MAX)),
                None => self.add_source(source.path.clone(), source.text.clone()),
            };
            Place { file, ..place }
        };
        let mut diagnostic = diagnostic.clone();
        diagnostic.place = diagnostic.place.map(&mut own);
        diagnostic.related.iter_mut().for_each(|(place, _)| *place = own(*place));
        diagnostic.key = diagnostic.key.map(|(place, key)| (own(place), key));
        self.push(diagnostic);
    }

    /// Says another source where one stood, and of each place in it where that is there.
    pub(crate) fn stand_in(&mut self, file: FileId, source: Source, there: impl Fn(Place) -> Place) {
        let at = |place: &mut Place| {
            if place.file == file {
                *place = Place { file, ..there(*place) };
            }
        };
        for one in &mut self.list {
            one.place.iter_mut().for_each(at);
            one.related.iter_mut().for_each(|(place, _)| at(place));
            one.key.iter_mut().for_each(|(place, _)| at(place));
        }
        self.sources[file.0 as usize] = source;
    }

    /// Adds all problems of other files.
    pub(crate) fn adopt_all(&mut self, other: &Problems) {
        self.is_unread |= other.is_unread;
        other.sorted().iter().for_each(|one| self.adopt(one, &other.sources));
        self.errors += other.dropped;
        self.dropped += other.dropped;
    }

    /// The same, each once.
    pub(crate) fn without_copies(self) -> Problems {
        let list = self.sorted().into_iter().cloned().collect();
        let once = Problems::of(self.sources, list);
        Problems { errors: once.errors + self.dropped, dropped: self.dropped, is_unread: self.is_unread, ..once }
    }

    /// Adds an error.
    pub fn error(&mut self, code: &'static str, place: Place, message: impl Into<String>) {
        self.push(Diagnostic::error(code, place, message));
    }

    /// True if anything forbids a run.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// How many forbid a run.
    pub fn error_count(&self) -> usize {
        let told = self.list.iter().filter(|one| self.is_told_otherwise(one)).count();
        self.errors - told
    }

    /// A key that is missing where one stands that is nearly it: that is one mistake. So is a manifest that cannot be read, and
    /// that what it would hold is not there.
    fn is_told_otherwise(&self, one: &Diagnostic) -> bool {
        if self.is_unread && one.misses_object {
            return true;
        }
        let of_key = |other: &Diagnostic| other.code == MISSPELT && other.key == one.key;
        one.code != MISSPELT && one.key.is_some() && self.list.iter().any(of_key)
    }

    /// All problems, sorted by file and position.
    pub fn sorted(&self) -> Vec<&Diagnostic> {
        let mut all: Vec<&Diagnostic> = self.list.iter().filter(|one| !self.is_told_otherwise(one)).collect();
        all.sort_by(|a, b| a.order().cmp(&b.order()));
        all.dedup();
        all
    }

    /// File, line and column of a place, if it is in a file.
    pub(crate) fn named(&self, place: Place) -> Option<(String, u32, u32)> {
        let source = self.sources.get(place.file.0 as usize).filter(|source| source.path != COMMAND_LINE)?;
        Some((source.path.clone(), place.line, place.column))
    }

    /// The errors, sorted, each with the file that it is about, if that is one.
    pub fn errors(&self) -> impl Iterator<Item = (&Diagnostic, Option<&Source>)> {
        let errors = self.sorted().into_iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
        errors.map(|error| {
            let source = error.place.and_then(|place| self.sources.get(place.file.0 as usize));
            (error, source.filter(|source| source.path != COMMAND_LINE))
        })
    }

    /// Takes the problems that do not forbid a run, sorted; the files stay.
    pub fn take_warnings(&mut self) -> Vec<Diagnostic> {
        let mut list = std::mem::take(&mut self.list);
        list.retain(|diagnostic| diagnostic.severity != Severity::Error);
        list.sort_by(|a, b| a.order().cmp(&b.order()));
        list.dedup();
        told_once(list)
    }

    /// All problems as text, with a last line that counts them.
    pub fn render(&self, look: impl Into<Look>) -> String {
        let look = look.into();
        let (errors, others) = (self.render_errors(look), self.render_others(look));
        let mut text = errors + &others;
        if self.errors > 0 {
            text.push_str(&counted(self.error_count()));
        }
        text
    }

    /// The errors as text, and how many more there are than were kept.
    pub fn render_errors(&self, look: impl Into<Look>) -> String {
        let errors = self.sorted().into_iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
        let text = render_all(errors, &self.sources, look);
        if self.dropped > 0 { format!("{text}... and {} more\n\n", self.dropped) } else { text }
    }

    /// Warnings and notes as text.
    pub fn render_others(&self, look: impl Into<Look>) -> String {
        let others = self.sorted().into_iter().filter(|diagnostic| diagnostic.severity != Severity::Error);
        render_all(others, &self.sources, look)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.render(false))
    }
}

/// `3 errors`, with its line end.
pub fn counted(errors: usize) -> String {
    format!("{errors} error{}\n", if errors == 1 { "" } else { "s" })
}

/// Texts of several files, one after the other; what was said already is left out.
pub fn without_repeats<'t>(texts: impl IntoIterator<Item = &'t str>) -> (String, usize) {
    let mut said: Vec<&str> = Vec::new();
    for block in texts.into_iter().flat_map(|text| text.split("\n\n")).map(|block| block.trim_end_matches('\n')) {
        if !block.is_empty() && !said.contains(&block) {
            said.push(block);
        }
    }
    (said.iter().map(|block| format!("{block}\n\n")).collect(), said.len())
}

/// How problems are shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// In colours.
    pub color: bool,
    /// Messages fold at so many columns; `None`: never.
    pub width: Option<usize>,
}

impl From<bool> for Look {
    fn from(color: bool) -> Look {
        Look { color, width: None }
    }
}

/// Columns before an advice: the number of its line, of three digits, and `= help: `.
const HELP_BEFORE: usize = 13;

/// A text in lines that end before that column; the first begins behind others, and the rest are set in as far by the renderer.
fn folded(text: &str, before: usize, width: Option<usize>) -> String {
    let Some(room) = width.map(|width| width.saturating_sub(before).max(20)) else { return text.to_string() };
    let fold = |line: &str| {
        let (mut out, mut used) = (String::new(), 0);
        for word in line.split(' ') {
            let length = word.chars().count();
            if used > 0 && used + 1 + length > room {
                out.push('\n');
                used = 0;
            } else if used > 0 {
                out.push(' ');
                used += 1;
            }
            out.push_str(word);
            used += length;
        }
        out
    };
    text.split('\n').map(fold).collect::<Vec<_>>().join("\n")
}

/// What is passed over is told once for each kind of object, with the place of the first.
fn told_once(list: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut kept: Vec<(Diagnostic, usize)> = Vec::new();
    for one in list {
        let is_same = |(other, _): &&mut (Diagnostic, usize)| other.code == one.code && other.message == one.message;
        match kept.iter_mut().find(is_same).filter(|_| one.code == PASSED_OVER) {
            Some((_, count)) => *count += 1,
            None => kept.push((one, 1)),
        }
    }
    let counted = |(one, count): (Diagnostic, usize)| match count {
        1 => one,
        count => Diagnostic { message: format!("{} ({count} of them)", one.message), ..one },
    };
    kept.into_iter().map(counted).collect()
}

/// Several problems as text, an empty line after each.
pub fn render_all<'d>(
    diagnostics: impl IntoIterator<Item = &'d Diagnostic>,
    sources: &[Source],
    look: impl Into<Look>,
) -> String {
    let Look { color, width } = look.into();
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let renderer = match width {
        Some(width) => renderer.term_width(width),
        None => renderer,
    };
    let mut text = String::new();
    for diagnostic in diagnostics {
        text.push_str(&renderer.render(&groups(diagnostic, sources, width)));
        text.push_str("\n\n");
    }
    text
}

fn groups<'a>(diagnostic: &'a Diagnostic, sources: &'a [Source], width: Option<usize>) -> Vec<Group<'a>> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let word = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let before = word.len() + diagnostic.code.len() + "[]: ".len();
    let title = level.primary_title(folded(&printable(&diagnostic.message), before, width)).id(diagnostic.code);
    let mut group = Group::with_title(title);
    if let Some(place) = diagnostic.place {
        group = pointed(group, place, &diagnostic.label, AnnotationKind::Primary, sources);
    }
    for (place, label) in &diagnostic.related {
        group = pointed(group, *place, label, AnnotationKind::Context, sources);
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(folded(&printable(help), HELP_BEFORE, width)));
    }
    vec![group]
}

/// Draws one place: only its own lines are handed to the renderer, so that a large file costs nothing.
fn pointed<'a>(
    group: Group<'a>,
    place: Place,
    label: &'a str,
    kind: AnnotationKind,
    sources: &'a [Source],
) -> Group<'a> {
    let Some(source) = sources.get(place.file.0 as usize) else { return group };
    let text: &str = &source.text;
    let range = place.range(text.len());
    let line_start = text.as_bytes()[..range.start].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    // Only the first line of a longer stretch is drawn.
    let line_end = text.as_bytes()[range.start..]
        .iter()
        .position(|&byte| byte == b'\n')
        .map_or(text.len(), |offset| range.start + offset);
    let drawable = line_end - line_start <= LINE_MAX && text.is_char_boundary(range.start);
    let line = text.get(line_start..line_end).filter(|line| drawable && !line.contains(unprintable)).map(str::trim_end);
    let Some(line) = line.filter(|line| !line.is_empty() || text.is_empty()) else {
        let origin = Origin::path(source.path.as_str()).line(place.line as usize).char_column(place.column as usize);
        return group.element(origin);
    };
    let start = (range.start - line_start).min(line.len());
    let mut end = (range.end - line_start).clamp(start, line.len());
    while !line.is_char_boundary(end) {
        end += 1;
    }
    let annotation = kind.span(start..end).label((!label.is_empty()).then(|| printable(label)));
    let snippet = Snippet::source(line).line_start(place.line as usize).path(source.path.as_str());
    group.element(snippet.annotation(annotation))
}

fn unprintable(c: char) -> bool {
    c.is_control() && c != '\t'
}

/// Text of users inside messages: control characters are shown, not sent to the terminal; very long texts are cut.
fn printable(text: &str) -> String {
    let cut: String = text.chars().take(600).collect();
    let more = if cut.len() < text.len() { "..." } else { "" };
    cut.chars()
        .map(|c| if unprintable(c) && c != '\n' { c.escape_default().to_string() } else { c.to_string() })
        .chain([more.to_string()])
        .collect()
}

/// The candidate nearest to `word`, if it is near enough to be meant.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    if word.len() > 64 {
        return None;
    }
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= 64)
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|&(distance, candidate)| distance <= limit || same_but_for_case(word, candidate))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// The nearest candidate, if no other is as near.
pub(crate) fn only_nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let near = nearest(word, candidates.iter().copied())?;
    let others = candidates.iter().filter(|other| **other != near && other.len() <= 64);
    let far = distance(word, near);
    others.map(|other| distance(word, other)).all(|other| other > far).then_some(near)
}

/// "did you mean" for a word and what it could have been; else the list of candidates, if it is short.
pub fn suggestion<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    if let Some(near) = nearest(word, candidates.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    match candidates.len() {
        0 => None,
        1..=24 => Some(format!("known here: {}", candidates.join(", "))),
        _ => None,
    }
}

fn same_but_for_case(a: &str, b: &str) -> bool {
    let plain =
        |text: &str| text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>();
    plain(a) == plain(b)
}

/// Edit distance with transpositions (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested_and_a_far_one_is_not() {
        let keys = ["deregistration_delay", "health_check", "slow_start"];
        assert_eq!(nearest("deregistraton_delay", keys), Some("deregistration_delay"));
        assert_eq!(nearest("heatlh_check", keys), Some("health_check"), "a transposition is one step");
        assert_eq!(nearest("slowStart", keys), Some("slow_start"), "case and underscores");
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn problems_come_sorted_and_count_beyond_the_limit() {
        let mut problems = Problems::new();
        let file = problems.add_source("a.yaml", "one\ntwo\n".into());
        let at = |start, line| Place { file, start, end: start + 3, line, column: 1 };
        problems.error("E012", at(4, 2), "second");
        problems.error("E012", at(0, 1), "first");
        let messages: Vec<&str> = problems.sorted().iter().map(|d| d.message.as_str()).collect();
        assert_eq!(messages, ["first", "second"]);
        for _ in 0..2 * KEPT_MAX {
            problems.error("E012", at(0, 1), "again");
        }
        assert_eq!(problems.error_count(), 2 * KEPT_MAX + 2);
        assert!(problems.render(false).contains("... and 502 more"));
    }

    #[test]
    fn errors_come_before_notes_and_nothing_is_said_twice() {
        let mut problems = Problems::new();
        let file = problems.add_source("a.yaml", "one\ntwo\n".into());
        let at = |start, line| Place { file, start, end: start + 3, line, column: 1 };
        problems.push(Diagnostic::note("N001", at(0, 1), "assumed"));
        problems.error("E012", at(4, 2), "wrong");
        let shown = problems.render(false);
        assert!(shown.find("wrong") < shown.find("assumed"), "{shown}");
        assert!(!problems.render_errors(false).contains("assumed"));
        let (errors, others) = (problems.render_errors(false), problems.render_others(false));
        let (once, count) = without_repeats([&*errors, &others, &errors]);
        assert_eq!((once, count), (errors + &others, 2));
    }

    #[test]
    fn messages_fold_at_the_width_of_a_terminal_and_nowhere_else() {
        let mut problems = Problems::new();
        let long = format!("key: {}\n", "value ".repeat(30));
        let file = problems.add_source("a.yaml", long.into());
        let said =
            "a sentence of some length that goes on and on and on, well beyond what eighty columns of a terminal hold";
        let place = Place { file, start: 5, end: 10, line: 1, column: 6 };
        problems.push(Diagnostic::error("E012", place, said).help(said));
        let look = |width| Look { color: false, width };
        let narrow = problems.render(look(Some(80)));
        assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
        assert_eq!(problems.render(look(None)).matches(said).count(), 2);
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        let mut problems = Problems::new();
        let file = problems.add_source("a.yaml", "\u{1b}[31mred\n".into());
        problems.error("E012", Place { file, start: 0, end: 3, line: 1, column: 1 }, "found \u{1b}[31m");
        assert!(!problems.render(false).contains('\u{1b}'));
    }
}
