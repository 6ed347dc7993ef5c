//! Damaged files never make the reader panic: each ends in problems or in a plan, in bounded time.

use kubelapse::scenario::{LoadOptions, load};
use std::fs;
use std::path::{Path, PathBuf};

/// A small generator of our own (SplitMix64), so that case 217 is the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % below.max(1) as u64) as usize
    }
}

fn damage(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    let at = dice.roll(lines.len());
    let mut lines: Vec<Vec<u8>> = lines.into_iter().map(<[u8]>::to_vec).collect();
    match dice.roll(9) {
        0 => drop(lines.remove(at)),
        1 => lines.truncate(at),
        2 => {
            let value = ["[]", "{}", "-1", "99999999999999999999", "true", "null", "\"\"", "1e999", "*x", "&x [*x]"];
            let value = value[dice.roll(value.len())];
            if let Some(colon) = lines[at].iter().position(|&byte| byte == b':') {
                lines[at].truncate(colon + 1);
                lines[at].extend_from_slice(b" ");
                lines[at].extend_from_slice(value.as_bytes());
            }
        }
        3 => {
            let column = dice.roll(lines[at].len());
            if column < lines[at].len() {
                lines[at].remove(column);
            }
        }
        4 => {
            for _ in 0..1 + dice.roll(8) {
                let column = dice.roll(lines[at].len() + 1);
                lines[at].insert(column, dice.roll(256) as u8);
            }
        }
        5 => {
            let copy = lines[dice.roll(lines.len())].clone();
            lines.insert(at, copy);
        }
        6 => {
            let other = dice.roll(lines.len());
            lines.swap(at, other);
        }
        7 => lines[at].insert(0, [b' ', b'\t', b'-'][dice.roll(3)]),
        _ => {
            let mut all = lines.join(&b'\n');
            all.truncate(dice.roll(all.len()));
            return all;
        }
    }
    lines.join(&b'\n')
}

fn copy(from: &Path, to: &Path, files: &mut Vec<PathBuf>) {
    fs::create_dir_all(to).unwrap();
    let mut entries: Vec<PathBuf> = fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target, files);
        } else if path.extension().is_some_and(|end| end == "yaml") {
            fs::copy(&path, &target).unwrap();
            files.push(target);
        }
    }
}

#[test]
fn three_hundred_damaged_files_give_problems_or_a_plan() {
    let base = std::env::temp_dir().join(format!("kubelapse-damage-{}", std::process::id()));
    let root = base.join("scenarios");
    let mut files = Vec::new();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios"), &root, &mut files);
    fs::write(root.join("seed.yaml"), "manifests: [wordpress/seed/]\n").unwrap();
    let mut refused = 0;
    for case in 0..300_u64 {
        let mut dice = Dice(case);
        let victim = files[dice.roll(files.len())].clone();
        let whole = fs::read(&victim).unwrap();
        let mut damaged = whole.clone();
        for _ in 0..=dice.roll(3) {
            damaged = damage(&damaged, &mut dice);
        }
        fs::write(&victim, &damaged).unwrap();
        // Scenarios name manifests; what lies in folders of manifests is read through one that names it.
        let is_scenario =
            victim.parent() == Some(root.as_path()) || whole.windows(11).any(|window| window == b"\nmanifests:");
        let scenario = match (is_scenario, victim.parent().is_some_and(|folder| folder.ends_with("seed"))) {
            (true, _) => victim.clone(),
            (false, true) => root.join("seed.yaml"),
            (false, false) if victim.parent().is_some_and(|folder| folder.ends_with("load-balancer/web")) => {
                root.join("load-balancer/sticky-sessions.yaml")
            }
            (false, false) => root.join("scale-up.yaml"),
        };
        match load(&scenario, &LoadOptions::default()) {
            Ok(_) => {}
            Err(problems) => {
                refused += 1;
                assert!(problems.has_errors() && !problems.render(false).is_empty(), "case {case}");
            }
        }
        fs::write(&victim, &whole).unwrap();
    }
    fs::remove_dir_all(&base).unwrap();
    assert!((60..300).contains(&refused), "{refused} of 300 were refused: the damage is too small or too great");
}
