//! How long things take: distributions, and the table of every delay with its three presets and their sources.
//!
//! This is the one file that holds default delays. `noise: off` takes each distribution at its median.

use crate::engine::logarithm::ln;
use crate::engine::{Purpose, Random, Span};

/// A distribution of a duration.
#[derive(Clone, Debug, PartialEq)]
pub enum Distribution {
    /// Always the same.
    Constant(Span),
    /// Uniform between two durations.
    Uniform(Span, Span),
    /// Normal, cut at zero.
    Normal {
        /// Mean.
        mean: Span,
        /// Standard deviation.
        sd: Span,
    },
    /// Log-normal.
    Lognormal {
        /// Median, seconds.
        median: Span,
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
    /// Exponential.
    Exponential {
        /// Mean.
        mean: Span,
    },
    /// Weibull.
    Weibull {
        /// Shape.
        shape: f64,
        /// Scale.
        scale: Span,
    },
    /// One of several with weights that sum to 1.
    Mixture(Vec<(f64, Distribution)>),
    /// One of the recorded values, ascending.
    Empirical(Vec<Span>),
    /// Never happens (a node that never registers).
    Never,
}

impl Distribution {
    /// The value below which the share `p` (strictly between 0 and 1) lies.
    pub fn quantile(&self, p: f64) -> Span {
        match self {
            Distribution::Constant(span) => *span,
            Distribution::Uniform(low, high) => {
                Span::from_micros(low.micros() + ((high.saturating_sub(*low)).micros() as f64 * p).round() as u64)
            }
            Distribution::Normal { mean, sd } => Span::from_seconds(mean.seconds() + sd.seconds() * normal_quantile(p)),
            Distribution::Lognormal { median, sigma } => lognormal_quantile(*median, *sigma, p),
            Distribution::Exponential { mean } => Span::from_seconds(-mean.seconds() * (1.0 - p).ln()),
            Distribution::Weibull { shape, scale } => {
                Span::from_seconds(scale.seconds() * (-(1.0 - p).ln()).powf(1.0 / shape))
            }
            Distribution::Mixture(parts) => mixture_quantile(parts, p),
            Distribution::Empirical(values) => {
                let index = ((values.len() as f64 * p) as usize).min(values.len().saturating_sub(1));
                values.get(index).copied().unwrap_or(Span::ZERO)
            }
            Distribution::Never => Span::MAX,
        }
    }

    /// The share of values at most `span`.
    pub fn cdf(&self, span: Span) -> f64 {
        let x = span.seconds();
        match self {
            Distribution::Constant(value) => f64::from(u8::from(span >= *value)),
            Distribution::Uniform(low, high) if high > low => {
                ((x - low.seconds()) / (high.seconds() - low.seconds())).clamp(0.0, 1.0)
            }
            Distribution::Uniform(low, _) => f64::from(u8::from(span >= *low)),
            Distribution::Normal { mean, sd } => normal_cdf((x - mean.seconds()) / sd.seconds().max(1e-12)),
            Distribution::Lognormal { .. } if x <= 0.0 => 0.0,
            Distribution::Lognormal { median, sigma } => normal_cdf((x / median.seconds()).ln() / sigma.max(1e-12)),
            Distribution::Exponential { mean } => 1.0 - (-x / mean.seconds()).exp(),
            Distribution::Weibull { shape, scale } => 1.0 - (-(x / scale.seconds()).powf(*shape)).exp(),
            Distribution::Mixture(parts) => parts.iter().map(|(weight, part)| weight * part.cdf(span)).sum(),
            Distribution::Empirical(values) => {
                values.partition_point(|value| *value <= span) as f64 / values.len().max(1) as f64
            }
            Distribution::Never => 0.0,
        }
    }

    /// The median; of a mixture, the median of the whole mixture.
    pub fn median(&self) -> Span {
        self.quantile(0.5)
    }

    /// One draw. A mixture spends the same uniform on the choice and on the value, so a draw is monotone in it.
    #[inline(always)]
    pub fn draw(&self, random: &Random, purpose: Purpose, ordinal: u64) -> Span {
        match self {
            Distribution::Constant(span) => *span,
            Distribution::Exponential { mean } => {
                Span::from_seconds(-mean.seconds() * ln(1.0 - random.uniform(purpose, ordinal)))
            }
            // What most delays are.
            Distribution::Lognormal { median, sigma } => {
                lognormal_quantile(*median, *sigma, random.uniform(purpose, ordinal))
            }
            _ => self.quantile(random.uniform(purpose, ordinal)),
        }
    }
}

#[inline(always)]
fn lognormal_quantile(median: Span, sigma: f64, p: f64) -> Span {
    Span::from_seconds(median.seconds() * (sigma * normal_quantile(p)).exp())
}

/// The earliest microsecond at which the distribution function of the whole mixture reaches `p`.
fn mixture_quantile(parts: &[(f64, Distribution)], p: f64) -> Span {
    let happening = || parts.iter().filter(|(_, part)| *part != Distribution::Never);
    let reachable: f64 = happening().map(|(weight, _)| weight).sum();
    if p > reachable {
        return Span::MAX;
    }
    let cdf = |micros| parts.iter().map(|(weight, part)| weight * part.cdf(Span::from_micros(micros))).sum::<f64>();
    let at = |micros| cdf(micros) - p;
    if let Some(found) = by_one_part(happening, p, at) {
        return found;
    }
    let (near, far) = narrowed(happening, p, reachable);
    if near < far {
        let (below, above) = (at(near), at(far));
        if below < 0.0 && above >= 0.0 {
            return between((near, below), (far, above), at);
        }
    }
    let bounds = happening().map(|(_, part)| part.quantile(p).micros());
    let (low, mut high) = bounds.fold((u64::MAX, 0), |(low, high), bound| (low.min(bound), high.max(bound)));
    if reachable < 1.0 {
        // Parts that never happen push the rest to the right: look further out.
        let stretched = (p / reachable).min(1.0 - 1e-12);
        for (_, part) in happening() {
            high = high.max(part.quantile(stretched).micros());
        }
    }
    earliest(low, high, at)
}

/// Where a mixture reaches `p`, if one part decides: that in which the weights, added up, reach it. It is where this part has come as
/// far as the others leave to it, and what they leave hardly changes nearby where parts lie apart. `None`: it does.
fn by_one_part<'p, I: Iterator<Item = &'p (f64, Distribution)>>(
    parts: impl Fn() -> I,
    p: f64,
    at: impl Fn(u64) -> f64,
) -> Option<Span> {
    let (mut before, mut place) = (0.0, 0);
    let (weight, own) = parts().find(|(weight, _)| {
        let is_reached = before + weight >= p;
        if !is_reached {
            (before, place) = (before + weight, place + 1);
        }
        is_reached
    })?;
    let others = |micros| {
        let others = parts().enumerate().filter(|(index, _)| *index != place);
        others.map(|(_, (weight, part))| weight * part.cdf(Span::from_micros(micros))).sum::<f64>()
    };
    let mut likely = own.quantile((p - before) / weight).micros();
    for _ in 0..2 {
        let share = (p - others(likely)) / weight;
        if !(0.0..=1.0).contains(&share) {
            return None;
        }
        likely = own.quantile(share).micros();
        if let Some(found) = edge(likely, &at) {
            return Some(Span::from_micros(found));
        }
    }
    None
}

/// The number at which a rising function ceases to be negative, if that is this one or the next.
fn edge(near: u64, at: impl Fn(u64) -> f64) -> Option<u64> {
    if at(near) < 0.0 {
        let next = near.saturating_add(1);
        return (at(next) >= 0.0).then_some(next);
    }
    let before = near.checked_sub(1)?;
    (at(before) < 0.0).then_some(near)
}

/// Where a mixture reaches `p`, as the parts alone tell. Take the part in which the weights, added up, reach `p`: the whole has
/// reached it where that part and all before it have come far enough by themselves, and not before the first of that part
/// and all after it has, if those before have come as a whole. One microsecond more on both sides, for what is rounded.
fn narrowed<'p, I: Iterator<Item = &'p (f64, Distribution)>>(
    parts: impl Fn() -> I,
    p: f64,
    reachable: f64,
) -> (u64, u64) {
    let (mut before, mut own) = (0.0, 0);
    for (weight, _) in parts() {
        if before + weight >= p {
            break;
        }
        before += weight;
        own += 1;
    }
    let until = before + parts().nth(own).map_or(0.0, |(weight, _)| *weight);
    let quantile = |(_, part): &(f64, Distribution), p| part.quantile(p).micros();
    let low = parts().skip(own).map(|part| quantile(part, (p - before) / (reachable - before))).min();
    let high = parts().take(own + 1).map(|part| quantile(part, p / until)).max();
    (low.unwrap_or(u64::MAX).saturating_sub(1), high.unwrap_or(0).saturating_add(1))
}

/// The smallest number from `low` on at which a rising function is not negative; `high` if there is none before it.
fn earliest(low: u64, high: u64, at: impl Fn(u64) -> f64) -> Span {
    let below = at(low);
    if low >= high || below >= 0.0 {
        return Span::from_micros(low);
    }
    let above = at(high).max(0.0);
    between((low, below), (high, above), at)
}

/// The smallest number at which a rising function is not negative, between one where it is and one where it is not.
/// False position with the rule of Anderson and Björck, which takes a quarter of the looks that halving does; halving where it
/// is slow.
fn between((mut low, mut below): (u64, f64), (mut high, mut above): (u64, f64), at: impl Fn(u64) -> f64) -> Span {
    let (mut slow, mut moved) = (0, None);
    while high - low > 1 {
        let width = high - low;
        let part = if slow < 4 { below / (below - above) } else { 0.5 };
        let guess = (low + (width as f64 * part) as u64).clamp(low + 1, high - 1);
        let value = at(guess);
        // An end that stays where it is counts less from then on, so that the next guess falls beyond the root.
        let less = |before: f64| Some(1.0 - value / before).filter(|part| *part > 0.0).unwrap_or(0.5);
        if value >= 0.0 {
            if moved == Some(true) {
                below *= less(above);
            }
            (high, above, moved) = (guess, value, Some(true));
        } else {
            if moved == Some(false) {
                above *= less(below);
            }
            (low, below, moved) = (guess, value, Some(false));
        }
        slow = if high - low > width / 2 { slow + 1 } else { 0 };
    }
    Span::from_micros(high)
}

/// The quantile function of the standard normal distribution.
///
/// Algorithm AS 241 (PPND16) of Wichura, Applied Statistics 37 (1988): relative error about 1e-16.
#[inline]
pub fn normal_quantile(p: f64) -> f64 {
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180625 - q * q;
        return q * polynomial(
            r,
            &[
                3.387_132_872_796_366_5,
                133.141_667_891_784_38,
                1_971.590_950_306_551_3,
                13_731.693_765_509_46,
                45_921.953_931_549_87,
                67_265.770_927_008_7,
                33_430.575_583_588_13,
                2_509.080_928_730_122_7,
            ],
        ) / polynomial(
            r,
            &[
                1.0,
                42.313_330_701_600_91,
                687.187_007_492_057_9,
                5_394.196_021_424_751,
                21_213.794_301_586_597,
                39_307.895_800_092_71,
                28_729.085_735_721_943,
                5_226.495_278_852_854,
            ],
        );
    }
    normal_tail(p, q)
}

/// The same outside of the middle 85 %.
#[inline(never)]
fn normal_tail(p: f64, q: f64) -> f64 {
    let tail = if q < 0.0 { p } else { 1.0 - p };
    if tail <= 0.0 {
        return if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    let r = (-tail.ln()).sqrt();
    let value = if r <= 5.0 {
        let r = r - 1.6;
        polynomial(
            r,
            &[
                1.423_437_110_749_683_5,
                4.630_337_846_156_546,
                5.769_497_221_460_691,
                3.647_848_324_763_204_5,
                1.270_458_252_452_368_4,
                0.241_780_725_177_450_6,
                0.022_723_844_989_269_184,
                7.745_450_142_783_414e-4,
            ],
        ) / polynomial(
            r,
            &[
                1.0,
                2.053_191_626_637_759,
                1.676_384_830_183_803_8,
                0.689_767_334_985_1,
                0.148_103_976_427_480_08,
                0.015_198_666_563_616_457,
                5.475_938_084_995_345e-4,
                1.050_750_071_644_416_9e-9,
            ],
        )
    } else {
        let r = r - 5.0;
        polynomial(
            r,
            &[
                6.657_904_643_501_103,
                5.463_784_911_164_114,
                1.784_826_539_917_291_3,
                0.296_560_571_828_504_87,
                0.026_532_189_526_576_124,
                0.001_242_660_947_388_078_4,
                2.711_555_568_743_487_6e-5,
                2.010_334_399_292_288_1e-7,
            ],
        ) / polynomial(
            r,
            &[
                1.0,
                0.599_832_206_555_888,
                0.136_929_880_922_735_8,
                0.014_875_361_290_850_615,
                7.868_691_311_456_133e-4,
                1.846_318_317_510_054_8e-5,
                1.421_511_758_316_446e-7,
                2.044_263_103_389_939_8e-15,
            ],
        )
    };
    if q < 0.0 { -value } else { value }
}

/// By Horner's rule, lowest coefficient first; the number of coefficients is known, so that no loop is left of it.
#[inline(always)]
fn polynomial<const COUNT: usize>(x: f64, coefficients: &[f64; COUNT]) -> f64 {
    let mut sum = coefficients[COUNT - 1];
    for place in (0..COUNT - 1).rev() {
        sum = sum * x + coefficients[place];
    }
    sum
}

/// The distribution function of the standard normal distribution.
pub fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// The named delays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// One write to the API server and the watch event that shows it to the next controller.
    ApiHop,
    /// One attempt of the scheduler, from taking a pod to its decision.
    SchedulerAttempt,
    /// The binding call after a successful attempt.
    SchedulerBind,
    /// Karpenter computing where pods could go.
    KarpenterSolve,
    /// NodeClaim created until CreateFleet has returned an instance (Launched).
    NodeClaimLaunch,
    /// Launched until the kubelet has created the Node object.
    InstanceBoot,
    /// Node object created until the kubelet reports Ready (CNI up).
    NodeReady,
    /// Volumes, sandbox and address of a pod, before its images are pulled.
    PodSandbox,
    /// Pulling one image that the node does not have.
    ImagePull,
    /// Creating and starting one container.
    ContainerStart,
    /// Event on an EndpointSlice until the load balancer controller calls AWS.
    LoadBalancerReconcile,
    /// RegisterTargets accepted until the load balancer's nodes know the target.
    TargetRegistration,
    /// The known target until its first health check; never more than the interval.
    FirstHealthCheck,
    /// DeregisterTargets accepted until the load balancer sends nothing more.
    TargetDeregistration,
    /// Spot interruption notice until Karpenter acts on it (EventBridge, SQS).
    InterruptionDelivery,
    /// TerminateInstances accepted until EC2 reports the instance terminated.
    InstanceTermination,
    /// An error from the fleet for want of capacity.
    FleetError,
    /// The autoscaler's controller reads the scale of a target.
    HpaReadScale,
    /// It asks for one metric.
    HpaMetrics,
    /// It writes a scale.
    HpaWriteScale,
    /// It writes its status.
    HpaWriteStatus,
    /// A volume is made for the first pod that mounts it.
    VolumeProvision,
    /// A volume is attached to a node and mounted there.
    VolumeAttach,
    /// A volume that is not in use any more is detached.
    VolumeDetach,
}

/// One row of the table of delays.
pub struct StageRow {
    /// The stage.
    pub stage: Stage,
    /// Its name in scenarios (`timings:`).
    pub key: &'static str,
    /// What it spans, in a few words.
    pub about: &'static str,
    /// The presets tuned, default and heavy, as a scenario would write them.
    pub presets: [&'static str; 3],
    /// Where the numbers come from.
    pub source: &'static str,
}

/// The presets by name, in the order of [`StageRow::presets`].
pub const PRESETS: [&str; 3] = ["tuned", "default", "heavy"];

/// Every delay: three presets and their source.
pub const STAGES: [StageRow; 24] = [
    StageRow {
        stage: Stage::ApiHop,
        key: "api.hop",
        about: "one API write and the watch event that shows it",
        presets: ["10ms", "lognormal(median=20ms, sigma=0.5)", "lognormal(median=50ms, sigma=0.6)"],
        source: "5 to 50 ms a hop, typical; recorded clusters 5 to 50 ms",
    },
    StageRow {
        stage: Stage::SchedulerAttempt,
        key: "scheduler.attempt",
        about: "one scheduling attempt",
        presets: ["2ms", "3ms", "5ms"],
        source: "2 to 5 ms below 500 nodes, from scheduler_perf throughput",
    },
    StageRow {
        stage: Stage::SchedulerBind,
        key: "scheduler.bind",
        about: "the binding call",
        presets: ["5ms", "lognormal(median=10ms, sigma=0.4)", "lognormal(median=20ms, sigma=0.5)"],
        source: "5 to 20 ms, asynchronous",
    },
    StageRow {
        stage: Stage::KarpenterSolve,
        key: "karpenter.solve",
        about: "Karpenter computing a plan",
        presets: ["50ms", "lognormal(median=100ms, sigma=0.5)", "lognormal(median=300ms, sigma=0.7)"],
        source: "below 1 s in small clusters; instance launched about 1 s after the pod (provider issue 6128)",
    },
    StageRow {
        stage: Stage::NodeClaimLaunch,
        key: "node_claim.launch",
        about: "NodeClaim created to Launched (CreateFleet)",
        presets: [
            "lognormal(median=2s, sigma=0.08)",
            "lognormal(median=2.21s, sigma=0.09)",
            "lognormal(median=2.8s, sigma=0.15)",
        ],
        source: "110 recorded NodeClaims, eu-west-1 2025 (default); 15 from issue threads (heavy)",
    },
    StageRow {
        stage: Stage::InstanceBoot,
        key: "instance.boot",
        about: "Launched to Node object",
        presets: [
            "lognormal(median=19s, sigma=0.1)",
            "mixture(0.88: lognormal(median=20.9s, sigma=0.08), 0.12: lognormal(median=36.5s, sigma=0.1))",
            "lognormal(median=45s, sigma=0.45)",
        ],
        source: "node-latency-for-k8s V1/V2 (tuned); 110 recorded NodeClaims (default); custom images V4, V11 (heavy)",
    },
    StageRow {
        stage: Stage::NodeReady,
        key: "node.ready",
        about: "Node object to Ready (CNI, kubelet)",
        presets: [
            "lognormal(median=8s, sigma=0.3)",
            "mixture(0.58: lognormal(median=19s, sigma=0.044), 0.28: lognormal(median=25.1s, sigma=0.04), \
             0.06: lognormal(median=51s, sigma=0.25), 0.08: lognormal(median=110s, sigma=0.04))",
            "lognormal(median=38s, sigma=0.6)",
        ],
        source: "node-latency-for-k8s V1/V2 (tuned); 110 recorded NodeClaims less the 1 s of Karpenter's rest (default); \
                 CNI trouble V7, V9 (heavy)",
    },
    StageRow {
        stage: Stage::PodSandbox,
        key: "pod.sandbox",
        about: "volumes, sandbox, address of a pod",
        presets: ["500ms", "lognormal(median=1s, sigma=0.4)", "lognormal(median=3s, sigma=0.8)"],
        source: "volumes 0.1 to 1 s, sandbox and CNI 0.2 to 2 s",
    },
    StageRow {
        stage: Stage::ImagePull,
        key: "image.pull",
        about: "pulling an image the node lacks",
        presets: [
            "lognormal(median=6s, sigma=0.3)",
            "lognormal(median=12s, sigma=0.45)",
            "lognormal(median=25s, sigma=0.7)",
        ],
        source: "about 250 MB compressed at 25 to 60 MB/s, single-core inflate, 125 MiB/s disk",
    },
    StageRow {
        stage: Stage::ContainerStart,
        key: "container.start",
        about: "creating and starting one container",
        presets: ["300ms", "lognormal(median=1s, sigma=0.4)", "lognormal(median=2s, sigma=0.5)"],
        source: "container create 2 s (0.4) less the sandbox",
    },
    StageRow {
        stage: Stage::LoadBalancerReconcile,
        key: "load_balancer.reconcile",
        about: "EndpointSlice event to AWS call accepted",
        presets: ["300ms", "lognormal(median=700ms, sigma=0.5)", "lognormal(median=1.5s, sigma=0.7)"],
        source: "0.3 to 1.5 s: informer and one to three AWS calls",
    },
    StageRow {
        stage: Stage::TargetRegistration,
        key: "target.registration",
        about: "RegisterTargets to known by all load-balancer nodes",
        presets: ["1s", "lognormal(median=3s, sigma=0.6)", "lognormal(median=6s, sigma=0.8)"],
        source: "no AWS figure exists; fit to user reports (controller issues 1834, 1960)",
    },
    StageRow {
        stage: Stage::FirstHealthCheck,
        key: "target.first_check",
        about: "known to first health check, at most one interval",
        presets: ["uniform(0s, 3s)", "uniform(0s, 5s)", "uniform(0s, 15s)"],
        source: "uniform within min(interval, about 5 s); no AWS figure exists",
    },
    StageRow {
        stage: Stage::TargetDeregistration,
        key: "target.deregistration",
        about: "DeregisterTargets to no more new requests",
        presets: ["1s", "lognormal(median=4s, sigma=0.7)", "lognormal(median=10s, sigma=0.7)"],
        source: "reproduces \"5 s of preStop is not enough, 25 s is\" (controller issue 1064)",
    },
    StageRow {
        stage: Stage::InterruptionDelivery,
        key: "interruption.delivery",
        about: "interruption notice to Karpenter",
        presets: ["1s", "uniform(1s, 5s)", "uniform(1s, 20s)"],
        source: "EventBridge adds 1 to 5 s; the SQS long poll returns at once",
    },
    StageRow {
        stage: Stage::InstanceTermination,
        key: "instance.termination",
        about: "TerminateInstances to terminated",
        presets: ["30s", "lognormal(median=78s, sigma=0.22)", "lognormal(median=95s, sigma=0.25)"],
        source: "103 recorded terminations, median 84.7 s, with the 5 s poll (default); empty nodes take as long as others",
    },
    StageRow {
        stage: Stage::FleetError,
        key: "fleet.error",
        about: "CreateFleet that finds no capacity",
        presets: ["1s", "lognormal(median=2s, sigma=0.3)", "lognormal(median=3s, sigma=0.4)"],
        source: "a fleet call takes 1 to 3 s",
    },
    StageRow {
        stage: Stage::HpaReadScale,
        key: "hpa.read_scale",
        about: "the autoscaler reads the size of its target",
        presets: ["5ms", "lognormal(median=10ms, sigma=0.5)", "lognormal(median=25ms, sigma=0.6)"],
        source: "a fifth of a sync: 20 recorded syncs drift by 0.6 to 1.3 s, 30 to 65 ms each",
    },
    StageRow {
        stage: Stage::HpaMetrics,
        key: "hpa.metrics",
        about: "the autoscaler asks for one metric",
        presets: ["10ms", "lognormal(median=25ms, sigma=0.5)", "lognormal(median=60ms, sigma=0.6)"],
        source: "more than half of a sync: an aggregated API, one hop more than an object of the API server",
    },
    StageRow {
        stage: Stage::HpaWriteScale,
        key: "hpa.write_scale",
        about: "the autoscaler writes the new size",
        presets: ["5ms", "lognormal(median=10ms, sigma=0.5)", "lognormal(median=25ms, sigma=0.6)"],
        source: "as hpa.read_scale",
    },
    StageRow {
        stage: Stage::HpaWriteStatus,
        key: "hpa.write_status",
        about: "the autoscaler writes its status",
        presets: ["5ms", "lognormal(median=10ms, sigma=0.5)", "lognormal(median=25ms, sigma=0.6)"],
        source: "as hpa.read_scale",
    },
    StageRow {
        stage: Stage::VolumeProvision,
        key: "volume.provision",
        about: "a volume is made for its first pod, before that is bound",
        presets: ["2s", "lognormal(median=3s, sigma=0.4)", "lognormal(median=5s, sigma=0.5)"],
        source: "no distribution is published; CreateVolume, until the volume is available, takes seconds",
    },
    StageRow {
        stage: Stage::VolumeAttach,
        key: "volume.attach",
        about: "a volume is attached to a node and mounted",
        presets: ["3s", "lognormal(median=4s, sigma=0.4)", "lognormal(median=8s, sigma=0.5)"],
        source: "detach, attach and start take 10 to 20 s in all (provider designs/statefulset-disruption.md): a third of it",
    },
    StageRow {
        stage: Stage::VolumeDetach,
        key: "volume.detach",
        about: "a volume that its node says is unmounted is detached",
        presets: ["2s", "lognormal(median=4s, sigma=0.4)", "lognormal(median=8s, sigma=0.5)"],
        source: "as volume.attach; the node's status before it comes every 10 s",
    },
];

/// Delays of single machines that are known, as a recording gives them; all others follow the table of stages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KnownDelays {
    /// The machines, in the order in which their NodeClaims were made.
    pub machines: Vec<KnownMachine>,
    /// From the first NodeClaim of its batch to Launched, in that order.
    pub launch: Vec<Option<Span>>,
    /// Launched to Node object, in that order.
    pub boot: Vec<Option<Span>>,
    /// Node object to Ready, in that order.
    pub ready: Vec<Option<Span>>,
    /// Node object to Ready, of nodes without a NodeClaim.
    pub ready_of_node: std::collections::BTreeMap<String, Span>,
    /// Karpenter fills nodes in the order of their names, which are random: a number for each order. Zero: as they are made.
    pub name_order: u64,
}

impl KnownDelays {
    /// Where the name of a NodeClaim comes in such an order.
    pub fn place_of_name(&self, claim: usize) -> u64 {
        if self.name_order == 0 { 0 } else { mixed(self.name_order << 32 | claim as u64) }
    }
}

/// A number in which every bit of another one counts. Source: SplitMix64's finalizer.
pub fn mixed(word: u64) -> u64 {
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// By what a machine of a recording is known again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownMachine {
    /// Its NodePool.
    pub pool: String,
    /// Its type; empty until it is launched.
    pub instance_type: String,
    /// `spec.resources.requests` of its NodeClaim: cpu.
    pub millicores: i64,
    /// The same: pods.
    pub pods: i64,
}

impl KnownMachine {
    /// The likeness of equals.
    pub const ALIKE: u32 = 3;

    /// How alike two machines are: in pool, in type as well (the other one may have none yet), in what they were made for as
    /// well.
    pub fn likeness(&self, other: &KnownMachine) -> u32 {
        let same = [
            self.pool == other.pool,
            self.instance_type == other.instance_type || other.instance_type.is_empty(),
            (self.millicores, self.pods) == (other.millicores, other.pods),
        ];
        same.into_iter().take_while(|same| *same).count() as u32
    }
}

/// The delays of one run, by stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Timings {
    distributions: Vec<Distribution>,
    medians: Vec<Span>,
}

/// What the draws of a stage are for, by stage.
static PURPOSES: [Purpose; STAGES.len()] = {
    let mut purposes = [Purpose::named(""); STAGES.len()];
    let mut stage = 0;
    while stage < purposes.len() {
        purposes[stage] = Purpose::named(STAGES[stage].key);
        stage += 1;
    }
    purposes
};

/// What the boot of a machine and the readiness of its node have in common: type, image, zone. The correlation of their normal
/// scores over 109 recorded NodeClaims is 0.57; independent draws would make the whole too narrow.
const NODE_START_CORRELATION: f64 = 0.57;
const NODE_START: Purpose = Purpose::named("node.start");

impl Timings {
    /// The table from one distribution per row of [`STAGES`], in its order.
    ///
    /// # Panics
    /// When there is not exactly one per stage.
    pub fn new(distributions: Vec<Distribution>) -> Timings {
        assert_eq!(distributions.len(), STAGES.len(), "one distribution a stage");
        let medians = distributions.iter().map(Distribution::median).collect();
        Timings { distributions, medians }
    }

    /// Every stage without delay, as recorded decision traces assume.
    pub fn none() -> Timings {
        Timings::new(vec![Distribution::Constant(Span::ZERO); STAGES.len()])
    }

    /// The distribution of a stage.
    pub fn distribution(&self, stage: Stage) -> &Distribution {
        &self.distributions[stage as usize]
    }

    /// Its median.
    pub fn median(&self, stage: Stage) -> Span {
        self.medians[stage as usize]
    }

    /// Replaces the distribution of a stage.
    pub fn set(&mut self, stage: Stage, distribution: Distribution) {
        self.medians[stage as usize] = distribution.median();
        self.distributions[stage as usize] = distribution;
    }

    /// One draw, or the median without noise.
    pub fn delay(&self, stage: Stage, random: Option<&Random>, ordinal: u64) -> Span {
        let Some(random) = random else { return self.median(stage) };
        let own = PURPOSES[stage as usize];
        if !matches!(stage, Stage::InstanceBoot | Stage::NodeReady) {
            return self.distribution(stage).draw(random, own, ordinal);
        }
        self.correlated(stage, random, ordinal)
    }

    /// One draw of how long a node takes to start: slow ones are slow in all of it.
    #[inline(never)]
    fn correlated(&self, stage: Stage, random: &Random, ordinal: u64) -> Span {
        let own = PURPOSES[stage as usize];
        let normal = |purpose| normal_quantile(random.uniform(purpose, ordinal));
        let shared = NODE_START_CORRELATION.sqrt() * normal(NODE_START);
        let uniform = normal_cdf(shared + (1.0 - NODE_START_CORRELATION).sqrt() * normal(own));
        self.distribution(stage).quantile(uniform.clamp(f64::EPSILON, 1.0 - f64::EPSILON))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_the_order_of_their_stages() {
        for (index, row) in STAGES.iter().enumerate() {
            assert_eq!(row.stage as usize, index, "{}", row.key);
        }
    }

    #[test]
    fn normal_quantile_and_cdf_invert_each_other_and_know_their_landmarks() {
        assert_eq!(normal_quantile(0.5), 0.0);
        assert!((normal_quantile(0.975) - 1.959_963_984_540_054).abs() < 1e-14);
        assert!((normal_quantile(1e-10) + 6.361_340_902_404_056).abs() < 1e-12);
        for p in [1e-12, 1e-6, 0.01, 0.3, 0.5, 0.77, 0.999] {
            assert!((normal_cdf(normal_quantile(p)) - p).abs() < 1e-12 + p * 1e-9, "{p}");
        }
    }

    #[test]
    fn the_earliest_is_what_halving_finds() {
        let part =
            |weight, seconds, sigma| (weight, Distribution::Lognormal { median: Span::from_seconds(seconds), sigma });
        let never = (0.25, Distribution::Never);
        let close = Distribution::Mixture(vec![part(0.88, 20.9, 0.08), part(0.12, 36.5, 0.1)]);
        let apart = Distribution::Mixture(vec![part(0.6, 1.0, 0.01), part(0.4, 3_600.0, 0.02)]);
        let uniform = Distribution::Uniform(Span::from_secs(3), Span::from_secs(4));
        let mixed = Distribution::Mixture(vec![(0.5, uniform), part(0.5, 3.5, 0.5)]);
        for mixture in [&close, &apart, &mixed] {
            for step in 1..400 {
                let p = f64::from(step) / 400.0;
                let found = mixture.quantile(p);
                assert!(mixture.cdf(found) >= p, "{p}: {found:?}");
                assert!(mixture.cdf(Span::from_micros(found.micros() - 1)) < p, "{p}: {found:?}");
            }
        }
        let rarely = Distribution::Mixture(vec![part(0.75, 5.0, 0.3), never]);
        assert_eq!((rarely.quantile(0.76), rarely.quantile(0.375)), (Span::MAX, Span::from_secs(5)));
    }

    #[test]
    fn the_median_of_a_mixture_is_the_median_of_the_whole() {
        let far = Distribution::Constant(Span::from_secs(100));
        let near = Distribution::Uniform(Span::from_secs(0), Span::from_secs(10));
        let mixture = Distribution::Mixture(vec![(0.75, near.clone()), (0.25, far)]);
        let expected = 0.5 / 0.75 * 10.0;
        assert!((mixture.median().seconds() - expected).abs() < 1e-5);
        let never = Distribution::Mixture(vec![(0.5, near), (0.5, Distribution::Never)]);
        assert_eq!(never.quantile(0.6), Span::MAX);
        assert!((never.quantile(0.25).seconds() - 5.0).abs() < 1e-5);
    }

    #[test]
    fn a_slow_machine_has_a_slow_node_and_each_stage_keeps_its_distribution() {
        let mut timings = Timings::none();
        let uniform = Distribution::Uniform(Span::ZERO, Span::from_secs(1));
        for stage in [Stage::InstanceBoot, Stage::NodeReady, Stage::ImagePull] {
            timings.set(stage, uniform.clone());
        }
        let (random, count) = (Random::new(3, 1), 20_000_u32);
        let draw = |stage, n| timings.delay(stage, Some(&random), n).seconds() - 0.5;
        let product = |a: Stage, b: Stage| {
            (0..u64::from(count)).map(|n| draw(a, n) * draw(b, n)).sum::<f64>() / f64::from(count) * 12.0
        };
        // Spearman's correlation of a Gaussian copula: 6/pi asin(rho/2). Within 99.9 %.
        let expected = 6.0 / std::f64::consts::PI * (NODE_START_CORRELATION / 2.0).asin();
        assert!((product(Stage::InstanceBoot, Stage::NodeReady) - expected).abs() < 0.025);
        assert!(product(Stage::InstanceBoot, Stage::ImagePull).abs() < 0.025);
        assert!((product(Stage::NodeReady, Stage::NodeReady) - 1.0).abs() < 0.025, "still uniform");
    }

    #[test]
    fn quantiles_match_their_formulas() {
        let lognormal = Distribution::Lognormal { median: Span::from_secs(50), sigma: 0.4 };
        assert_eq!(lognormal.median(), Span::from_secs(50));
        assert!((lognormal.quantile(0.9).seconds() - 83.48).abs() < 0.01);
        let weibull = Distribution::Weibull { shape: 0.571, scale: Span::from_seconds(67.4 * 60.0) };
        assert!((weibull.cdf(Span::from_secs(600)) - 0.2857).abs() < 1e-4, "oracle 32");
    }
}
