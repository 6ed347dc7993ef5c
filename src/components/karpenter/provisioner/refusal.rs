//! Why a pass finds no place for a pod: what its parts answer, and what people read.

/// What no instance type met. When all is false, each was met by some type, but by none at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// The labels asked for.
    pub requirements: bool,
    /// Allocatable, with an offering that can be had.
    pub resources: bool,
    /// An offering that can be had.
    pub offering: bool,
}

/// Why a node, claim or pool does not take a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A taint.
    Taint,
    /// A host port is taken.
    HostPort,
    /// Not enough is free.
    Resources,
    /// Labels do not meet the pod's requirements.
    Requirements,
    /// No place where its volumes can be had.
    Volume,
    /// Spread, affinity or anti-affinity leaves no domain.
    Topology,
    /// No instance type is left.
    Types(Unmet),
    /// Too few distinct values are left for `minValues`.
    MinValues,
    /// The types that a claim may list do not suffice for `minValues`: the claim was dropped.
    TruncatedMinValues,
    /// The limits of the pool.
    Limits,
    /// The limit on the number of nodes of the pool is exactly used up.
    NodeLimit,
    /// Its `consolidateAfter` still runs.
    Unsettled,
    /// A reservation that it could use is taken: it waits for it.
    Reserved,
    /// It claims devices, which Karpenter does not plan with (`--ignore-dra-requests`, the default).
    Devices,
}

impl Refusal {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Refusal::Taint => "a taint is not tolerated",
            Refusal::HostPort => "a host port is taken",
            Refusal::Resources => "not enough is free",
            Refusal::Requirements => "labels do not meet its requirements",
            Refusal::Volume => "its volumes cannot be had there",
            Refusal::Topology => "topology leaves no domain",
            Refusal::Types(_) => "no available instance type fits",
            Refusal::MinValues | Refusal::TruncatedMinValues => "minValues cannot be met",
            Refusal::Limits | Refusal::NodeLimit => "the limits of the pool are used up",
            Refusal::Unsettled => "its consolidateAfter still runs",
            Refusal::Reserved => "the capacity reservation that it could use is taken",
            Refusal::Devices => "it claims devices, which Karpenter does not plan with",
        }
    }
}
