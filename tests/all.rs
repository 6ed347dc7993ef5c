//! All integration tests, one binary.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

mod advice;
mod autoscaling;
mod calibration;
mod command_line;
mod damage;
mod determinism;
mod docs;
mod explain;
mod karpenter;
mod karpenter_machines;
mod karpenter_oracles;
mod load_balancer;
mod misspelt;
mod operator;
mod oracles;
mod overload;
mod properties;
mod replay;
mod rollouts;
mod stateful;
mod studies;
mod support;
mod tidy;
mod traffic;
mod unserved;
