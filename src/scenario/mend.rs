//! What stands below a misspelt name is looked through as well: the files are read again as they would be once it is mended.
//!
//! In: problems that say which word was meant. Out: trees with those words, at the places of the written ones. So one pass tells
//! what else is wrong below a misspelt key, and does not tell what only follows from it. Words that could be several others are
//! left as they are.

use super::diagnostic::{Diagnostic, Place, Problems};
use super::yaml::{Node, Value};

/// So often are files read again: each time finds what the last mending laid open.
const ROUNDS_MAX: usize = 8;

/// A word of a file that stands for another.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mend {
    /// The file as it is shown.
    file: String,
    start: u32,
    end: u32,
    meant: String,
}

impl Mend {
    fn is_at(&self, place: Place) -> bool {
        (self.start, self.end) == (place.start, place.end)
    }
}

/// Reads; as long as misspelt words are found, again with those that were meant, so that what stands below is told as well.
///
/// # Errors
/// The misspelt words, and what else is wrong.
pub(crate) fn read<T>(
    read: impl Fn(Vec<Mend>) -> Result<T, Problems>,
    remarks: impl Fn(T) -> Problems,
) -> Result<T, Problems> {
    let mut last = match read(Vec::new()) {
        Ok(found) => return Ok(found),
        Err(problems) => problems,
    };
    let (mut told, mut mends) = (Problems::of(last.sources.clone(), Vec::new()), Vec::new());
    for _ in 0..ROUNDS_MAX {
        let fresh: Vec<_> = of(&last).into_iter().filter(|(mend, _)| !mends.contains(mend)).collect();
        if fresh.is_empty() {
            break;
        }
        for (mend, said) in fresh {
            told.adopt(&said, &last.sources);
            mends.push(mend);
        }
        last = read(mends.clone()).map_or_else(|problems| problems, &remarks);
    }
    told.adopt_all(&last);
    Err(told.without_copies())
}

/// What these problems say was meant, and the problems that say so.
fn of(problems: &Problems) -> Vec<(Mend, Diagnostic)> {
    let told = problems.sorted().into_iter().filter_map(|one| {
        let (meant, place) = (one.meant.clone()?, one.place?);
        let file = problems.sources.get(place.file.0 as usize)?.path.clone();
        Some((Mend { file, start: place.start, end: place.end, meant }, one.clone()))
    });
    told.collect()
}

/// Puts what was meant into the documents of a file.
pub(crate) fn apply(documents: &mut [Node], shown: &str, mends: &[Mend]) {
    let own: Vec<&Mend> = mends.iter().filter(|mend| mend.file == shown).collect();
    if !own.is_empty() {
        documents.iter_mut().for_each(|document| mend(document, &own));
    }
}

fn mend(node: &mut Node, mends: &[&Mend]) {
    let place = node.place;
    match &mut node.value {
        Value::Null => {}
        Value::Scalar(scalar) => {
            if let Some(mend) = mends.iter().find(|mend| mend.is_at(place)) {
                scalar.text = mend.meant.as_str().into();
            }
        }
        Value::Sequence(items) => items.iter_mut().for_each(|item| mend(item, mends)),
        Value::Mapping(entries) => {
            for index in 0..entries.len() {
                let meant = mends.iter().find(|mend| mend.is_at(entries[index].key_place));
                // Beside the key that is meant it was not meant after all.
                if let Some(mend) = meant.filter(|mend| entries.iter().all(|entry| *entry.key != mend.meant)) {
                    entries[index].key = mend.meant.as_str().into();
                }
                self::mend(&mut entries[index].value, mends);
            }
        }
    }
}
