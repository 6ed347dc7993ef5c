//! The `kubelapse` command.

fn main() {}
