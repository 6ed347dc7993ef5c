//! Writing results: whole or not at all.

use std::fs;
use std::io;
use std::path::Path;

/// Makes `folder` hold exactly these files. They are written beside it first and the folders are exchanged by renaming,
/// so that a run that is killed leaves the earlier result whole.
///
/// # Errors
/// What the file system says.
pub fn replace_folder(folder: &Path, files: &[(String, Vec<u8>)]) -> io::Result<()> {
    let parent = folder.parent().unwrap_or(Path::new("."));
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    fs::create_dir_all(parent)?;
    let fresh = parent.join(format!(".{name}.{}.tmp", std::process::id()));
    let old = parent.join(format!(".{name}.{}.old.tmp", std::process::id()));
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    fs::create_dir_all(&fresh)?;
    let written = write_all(&fresh, files).and_then(|()| {
        if folder.exists() {
            fs::rename(folder, &old)?;
        }
        fs::rename(&fresh, folder)
    });
    if written.is_err() {
        let _ = fs::remove_dir_all(&fresh);
        if old.exists() && !folder.exists() {
            fs::rename(&old, folder)?;
        }
    }
    if old.exists() {
        fs::remove_dir_all(&old)?;
    }
    written
}

/// Writes a file, whole or not at all; something that is no ordinary file, such as a pipe, is written to as it stands.
///
/// # Errors
/// What the file system says.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return fs::write(path, bytes);
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let fresh = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    fs::write(&fresh, bytes).and_then(|()| fs::rename(&fresh, path)).inspect_err(|_| {
        let _ = fs::remove_file(&fresh);
    })
}

/// Where files were written, and which, in lines of at most 80 columns as long as the path allows.
pub fn written(place: &Path, files: &[(String, Vec<u8>)]) -> String {
    let head = format!("\nwritten to {}/:", place.display());
    let mut lines = vec![String::new()];
    for (index, (name, _)) in files.iter().enumerate() {
        let end = if index + 1 < files.len() { "," } else { "" };
        let last = lines.last_mut().expect("there is always a line");
        if last.chars().count() + name.chars().count() + end.len() + 3 > 80 {
            lines.push(format!("  {name}{end}"));
        } else {
            *last += &format!("{}{name}{end}", if last.is_empty() { "  " } else { " " });
        }
    }
    format!("{head}\n{}\n", lines.join("\n"))
}

fn write_all(folder: &Path, files: &[(String, Vec<u8>)]) -> io::Result<()> {
    files.iter().try_for_each(|(name, bytes)| fs::write(folder.join(name), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_named_within_eighty_columns() {
        let names =
            ["timeline.svg", "timeline.png", "summary.json", "metrics.txt", "events.csv", "nodes.csv", "phases.csv"];
        let files: Vec<(String, Vec<u8>)> = names.iter().map(|name| (name.to_string(), Vec::new())).collect();
        let text = written(Path::new("output/shop"), &files);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(
            names.iter().all(|name| text.contains(name))
                && text.starts_with("\nwritten to output/shop/:\n  timeline.svg, ")
        );
    }
}
