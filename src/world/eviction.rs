//! The API server's eviction handler. Source: `pkg/registry/core/pod/storage/eviction.go`.

use super::World;
use super::change::{Change, DeleteCause};
use super::ids::PodId;
use super::pod::PodPhase;
use super::workload::PdbReason;
use crate::engine::Span;
use crate::plan::PdbId;

/// A budget with more recorded evictions than this is not trusted. Source: `eviction.go` (`MaxDisruptedPodSize`).
const DISRUPTED_PODS_MAX: usize = 2000;

/// `Retry-After` while the status of a budget is older than its spec. Source: `eviction.go`.
const RETRY_UNOBSERVED: Span = Span::from_secs(10);

/// The answer to an eviction request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// 201: the pod is being deleted.
    Granted,
    /// 404: there is no such pod.
    NotFound,
    /// 429: a budget does not allow it now.
    Refused {
        /// `Retry-After`.
        retry_after: Span,
    },
    /// 403: the budget's status cannot be trusted.
    Forbidden,
    /// 500: more than one budget matches.
    SeveralBudgets,
    /// 500: the budget was charged, then the deletion failed.
    DeleteFailed,
}

/// What is special about an eviction request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvictionRequest {
    /// `dryRun: All`: the answer without the effects.
    pub dry_run: bool,
    /// The deletion after the decision fails.
    pub delete_fails: bool,
}

impl World {
    /// Why the eviction of a pod is refused, in words, with the budgets that cover it.
    pub fn why_refused(&self, pod: PodId, answer: Eviction) -> String {
        let template = self.template_of(pod);
        let budgets = self.pdbs.iter().filter(|pdb| pdb.spec.matches(template));
        let budgets: Vec<String> = budgets
            .map(|pdb| {
                let (allowed, healthy, desired) = (pdb.disruptions_allowed, pdb.current_healthy, pdb.desired_healthy);
                let name = &pdb.spec.name;
                format!("pdb/{name}: disruptionsAllowed {allowed}, currentHealthy {healthy}, desiredHealthy {desired}")
            })
            .collect();
        let why = match answer {
            Eviction::Granted | Eviction::NotFound => "it is not",
            Eviction::Refused { retry_after } if retry_after.is_zero() => "the budget is used up",
            Eviction::Refused { .. } => "the budget's status is older than its spec",
            Eviction::Forbidden => "the budget's status cannot be trusted",
            Eviction::SeveralBudgets => "more than one budget selects the pod, which the API does not support",
            Eviction::DeleteFailed => "the deletion failed",
        };
        format!("{why} ({})", budgets.join("; "))
    }

    /// One eviction request.
    pub fn evict_pod(&mut self, pod: PodId) -> Eviction {
        self.request_eviction(pod, EvictionRequest::default())
    }

    /// One eviction request that may be a dry run or fail half-way.
    pub fn request_eviction(&mut self, pod: PodId, request: EvictionRequest) -> Eviction {
        let entry = &self.pods[pod.index()];
        if entry.gone.is_some() {
            return Eviction::NotFound;
        }
        let budget = match self.budget_asked(pod) {
            Ok(budget) => budget,
            Err(answer) => return answer,
        };
        if let Some(pdb) = budget {
            if let Some(answer) = self.refusal(pdb) {
                return answer;
            }
            if !request.dry_run {
                self.take_from_budget(pdb, pod);
            }
        }
        if request.dry_run {
            return Eviction::Granted;
        }
        if request.delete_fails {
            // The condition was written before the deletion was tried.
            let now = self.now;
            self.pods[pod.index()].set_disruption_target(now);
            self.push(Change::PodChanged(pod));
            return Eviction::DeleteFailed;
        }
        self.delete_pod(pod, None, DeleteCause::Eviction);
        Eviction::Granted
    }

    /// The budget that must allow the eviction of an existing pod; `None`: none has to.
    fn budget_asked(&self, pod: PodId) -> Result<Option<PdbId>, Eviction> {
        let entry = &self.pods[pod.index()];
        if entry.deleting_since.is_some() || entry.phase == PodPhase::Pending || entry.is_finished() {
            return Ok(None);
        }
        let template = self.template_of(pod);
        let mut matching = self.pdbs.iter().filter(|pdb| pdb.spec.matches(template));
        let Some(pdb) = matching.next() else { return Ok(None) };
        if matching.next().is_some() {
            return Err(Eviction::SeveralBudgets);
        }
        let healthy = pdb.current_healthy >= pdb.desired_healthy && pdb.desired_healthy > 0;
        let free = !entry.is_ready() && (pdb.spec.always_allow_unhealthy || healthy);
        Ok((!free).then_some(pdb.id))
    }

    fn refusal(&self, pdb: PdbId) -> Option<Eviction> {
        let pdb = &self.pdbs[pdb.index()];
        if !pdb.observed {
            return Some(Eviction::Refused { retry_after: RETRY_UNOBSERVED });
        }
        if pdb.disruptions_allowed < 0 || pdb.disrupted.len() > DISRUPTED_PODS_MAX {
            return Some(Eviction::Forbidden);
        }
        (pdb.disruptions_allowed == 0).then_some(Eviction::Refused { retry_after: Span::ZERO })
    }

    /// Counts the budget down and records the pod, in whole seconds.
    fn take_from_budget(&mut self, pdb: PdbId, pod: PodId) {
        let now = self.now.whole_second();
        let entry = &mut self.pdbs[pdb.index()];
        entry.disruptions_allowed -= 1;
        if entry.disruptions_allowed == 0 {
            entry.reason = Some(PdbReason::InsufficientPods);
        }
        entry.disrupted.retain(|&(other, _)| other != pod);
        entry.disrupted.push((pod, now));
        self.push(Change::PdbStatus(pdb));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Time;
    use crate::plan::{PdbSpec, Plan, PodTemplate, TemplateId};
    use crate::rules::labels::LabelSelector;
    use crate::world::{NewNode, NewPod, Owner};
    use std::sync::Arc;

    fn world(budgets: usize) -> World {
        let mut plan = Plan::empty(Time::from_unix_seconds(1_000), Span::from_secs(60));
        plan.templates.push(Arc::new(PodTemplate::default()));
        for number in 0..budgets {
            plan.pdbs.push(Arc::new(PdbSpec {
                namespace: "default".to_string(),
                name: format!("pdb-{number}"),
                selector: Some(LabelSelector::default()),
                min_available: None,
                max_unavailable: None,
                always_allow_unhealthy: false,
            }));
        }
        let mut world = World::new(&plan);
        world.create_node(NewNode {
            name: "n".into(),
            labels: Default::default(),
            taints: Vec::new(),
            allocatable: Default::default(),
            capacity: Default::default(),
            claim: None,
            instance: None,
            zone: None,
        });
        for ordinal in 1..=3 {
            let new = NewPod { template: TemplateId(0), owner: Owner::Bare, ordinal, pinned: None, name: None };
            let pod = world.create_pod(new);
            world.bind_pod(pod, crate::world::NodeId(0));
            world.set_pod_phase(pod, PodPhase::Running);
            world.set_pod_ready(pod, true);
        }
        for index in 0..budgets {
            world.set_pdb_status(PdbId::at(index), 3, 2, 3, 1);
        }
        world
    }

    #[test]
    fn a_budget_of_one_grants_one() {
        let mut world = world(1);
        assert_eq!(world.evict_pod(PodId(0)), Eviction::Granted);
        assert!(world.pod(PodId(0)).disruption_target && world.pod(PodId(0)).is_terminating());
        assert_eq!(world.evict_pod(PodId(1)), Eviction::Refused { retry_after: Span::ZERO });
        assert_eq!(world.pdbs[0].disrupted, [(PodId(0), Time::from_unix_seconds(1_000))]);
        assert_eq!(world.evict_pod(PodId(0)), Eviction::Granted, "a terminating pod asks no budget");
    }

    #[test]
    fn an_old_status_a_negative_one_and_two_budgets() {
        let mut stale = world(1);
        let spec = stale.pdbs[0].spec.clone();
        stale.update_pdb(PdbId(0), spec.clone());
        assert!(stale.pdbs[0].observed, "writing the same spec makes no new generation");
        stale.update_pdb(PdbId(0), Arc::new(PdbSpec { always_allow_unhealthy: true, ..(*spec).clone() }));
        assert_eq!(stale.evict_pod(PodId(0)), Eviction::Refused { retry_after: Span::from_secs(10) });
        let mut negative = world(1);
        negative.set_pdb_status(PdbId(0), 3, 2, 3, -1);
        assert_eq!(negative.evict_pod(PodId(0)), Eviction::Forbidden);
        assert_eq!(world(2).evict_pod(PodId(0)), Eviction::SeveralBudgets);
        let mut none = world(0);
        assert_eq!(none.evict_pod(PodId(0)), Eviction::Granted);
        none.remove_pod(PodId(0));
        assert_eq!(none.evict_pod(PodId(0)), Eviction::NotFound);
    }

    #[test]
    fn unready_pods_go_free_while_the_budget_is_healthy() {
        let mut world = world(1);
        world.set_pod_ready(PodId(2), false);
        world.set_pdb_status(PdbId(0), 2, 2, 3, 0);
        assert_eq!(world.evict_pod(PodId(2)), Eviction::Granted);
        assert!(world.pdbs[0].disrupted.is_empty(), "the budget is untouched");
        world.set_pod_ready(PodId(1), false);
        world.set_pdb_status(PdbId(0), 1, 2, 3, 0);
        assert_eq!(world.evict_pod(PodId(1)), Eviction::Refused { retry_after: Span::ZERO });
        world.pdbs[0].spec = Arc::new(PdbSpec { always_allow_unhealthy: true, ..(*world.pdbs[0].spec).clone() });
        assert_eq!(world.evict_pod(PodId(1)), Eviction::Granted);
    }
}
