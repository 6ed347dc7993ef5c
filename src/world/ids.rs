//! Ids of things that come and go: positions in the world's arenas. Never reused within a run.

use crate::plan::ids::ids;

ids! {
    /// A pod.
    PodId;
    /// A node.
    NodeId;
    /// A NodeClaim.
    ClaimId;
    /// An EC2 instance.
    InstanceId;
    /// A ReplicaSet.
    ReplicaSetId;
    /// A registration of an address with a target group.
    TargetId;
    /// A VolumeAttachment.
    AttachmentId;
    /// The spot price of a type in a zone.
    PriceId;
}
