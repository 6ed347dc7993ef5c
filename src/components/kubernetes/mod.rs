//! The control plane and the kubelets of Kubernetes 1.34.

pub mod attach_detach;
pub mod daemon_set;
pub mod deployment;
pub mod endpoint_slice;
pub mod external_metrics;
pub mod hpa;
pub mod kubelet;
pub mod metrics_server;
pub mod node_lifecycle;
pub mod pod_disruption;
pub mod replica_set;
pub mod scheduler;
pub mod stateful_set;

#[cfg(test)]
pub mod testbed;
pub mod vpa_recommender;
