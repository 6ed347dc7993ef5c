//! Karpenter core 1.14 with the AWS provider.

pub mod cluster;
pub mod disruption;
#[cfg(test)]
mod fixture;
pub mod health;
pub mod interruption;
pub mod node_claim;
pub mod provisioner;
pub mod termination;

#[cfg(test)]
mod story;
