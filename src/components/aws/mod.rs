//! What AWS does: EC2, the load balancer and its controller, CloudWatch.

pub mod alb;
pub mod cloudwatch;
pub mod credits;
pub mod fleet;
pub mod instance;
pub mod spot_market;
pub mod target_group;
