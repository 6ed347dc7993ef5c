//! Ids of things a plan names once and for all: positions in the plan's vectors.

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(pub u32);

        impl $name {
            /// The position in the vector that holds it.
            #[inline]
            pub const fn index(self) -> usize {
                self.0 as usize
            }

            /// The id of the position `index`.
            ///
            /// # Panics
            /// Beyond 2^32 entries.
            pub fn at(index: usize) -> $name {
                $name(u32::try_from(index).expect("fewer than 2^32 of a kind"))
            }
        }
    )*};
}
pub(crate) use ids;

ids! {
    /// A pod template (or the spec of a bare pod).
    TemplateId;
    /// A Deployment.
    DeploymentId;
    /// A DaemonSet.
    DaemonSetId;
    /// A HorizontalPodAutoscaler.
    HpaId;
    /// A PodDisruptionBudget.
    PdbId;
    /// A Service.
    ServiceId;
    /// A NodePool.
    NodePoolId;
    /// An EC2NodeClass.
    NodeClassId;
    /// An instance type of the catalogue.
    InstanceTypeId;
    /// A capacity reservation.
    ReservationId;
    /// A pool of EC2 capacity.
    CapacityPoolId;
    /// An availability zone of the cluster.
    ZoneId;
    /// A target group.
    TargetGroupId;
    /// A TargetGroupBinding.
    BindingId;
    /// An application: the load model of one Deployment's pods, and the traffic that it gets.
    AppId;
    /// A CloudWatch alarm.
    AlarmId;
    /// A scripted fault.
    FaultId;
    /// A scripted action.
    ActionId;
    /// A container image.
    ImageId;
}
