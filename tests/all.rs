//! All integration tests, one binary.

mod damage;
mod determinism;
mod docs;
mod oracles;
mod properties;
mod support;
mod tidy;
