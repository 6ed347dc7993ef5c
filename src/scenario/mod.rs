//! From text to a plan: everything a user can get wrong is found and said here.

pub mod diagnostic;
pub mod reader;
pub mod units;
pub mod yaml;

pub use units::timings;
