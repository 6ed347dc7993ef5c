//! The `kubelapse` command: parse, call, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    kubelapse::cli::main()
}
