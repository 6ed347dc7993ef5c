//! How many instructions a part of a bench executes: it runs itself under valgrind, with which other work on the machine has
//! nothing to do. Cargo takes no folder without `main.rs` for a bench.

use std::process::Command;

/// Instructions of what a function of this program does when it is run with an argument.
///
/// # Panics
/// Without valgrind.
pub fn instructions(argument: &str, function: &str) -> f64 {
    counted(argument, function).expect("valgrind is installed and counts instructions")
}

fn counted(argument: &str, function: &str) -> Option<f64> {
    let program = std::env::current_exe().ok()?;
    let collect = format!("--toggle-collect=*{function}*");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", &collect]).arg(program).arg(argument);
    let said = String::from_utf8(command.output().ok()?.stderr).ok()?;
    said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
}
