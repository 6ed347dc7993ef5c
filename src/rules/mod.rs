//! Pure arithmetic that several parts share: quantities, labels, taints, node requirements, resource sums, schedules.
//!
//! Nothing here knows time passing, a world or a plan. Each function is one upstream rule, with its file named.

pub mod expectation;
pub mod extended;
mod label_map;
pub mod labels;
pub mod quantity;
pub mod requirement;
pub mod requirements;
pub mod resources;
pub mod schedule;
pub mod sort;
pub mod taint;
pub mod values;
