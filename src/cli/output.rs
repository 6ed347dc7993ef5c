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

fn write_all(folder: &Path, files: &[(String, Vec<u8>)]) -> io::Result<()> {
    files.iter().try_for_each(|(name, bytes)| fs::write(folder.join(name), bytes))
}
