//! Karpenter core 1.14 with the AWS provider.

pub mod disruption;
pub mod interruption;
pub mod node_claim;
pub mod provisioner;
pub mod termination;
