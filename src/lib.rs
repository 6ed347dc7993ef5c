//! kubelapse: the time-lapse simulator of Kubernetes autoscaling on AWS.

pub mod analysis;
pub mod catalog;
pub mod cli;
pub mod components;
pub mod engine;
pub mod manifest;
pub mod plan;
pub mod record;
pub mod render;
pub mod rules;
pub mod scenario;
pub mod study;
pub mod world;
