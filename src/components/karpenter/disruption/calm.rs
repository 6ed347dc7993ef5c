//! A pass that found no candidate finds none again while what it reads stays as it was: then the loop need not look.
//!
//! In: the world after a pass that had nothing to weigh, or whose methods rest after what they weighed. Out: whether the next one
//! may be spared. What a pass reads is the cluster, whose changes are counted where they could make a node a candidate
//! ([`World::candidates_version`]), its own memory, and the clock. Where the clock alone could change the answer (schedules of
//! budgets, durations of annotations, pools of v1beta1 with their age), no pass is spared; of a nomination it is known when it
//! ends, and one that comes later makes nothing a candidate.

use super::balanced;
use super::method::Method;
use crate::components::karpenter::cluster::DO_NOT_DISRUPT;
use crate::engine::Time;
use crate::plan::Plan;
use crate::world::{NodeClaim, World};

/// A cluster in which there was nothing to disrupt.
#[derive(Clone, Copy, Debug)]
pub struct Calm {
    version: u64,
    /// Some method did not look, for it remembered that it had found nothing: what makes it look again ends the calm.
    pub recalls: bool,
    /// The first instant at which the clock could change the answer.
    until: Time,
}

impl Calm {
    /// Calm from now on; `None`: the clock may end it at any time.
    pub fn of(plan: &Plan, world: &World, recalls: bool) -> Option<Calm> {
        if plan.flags.karpenter.version < (1, 0) || world.node_pools.iter().any(|pool| pool.v1beta1) {
            return None;
        }
        let budgets = world.node_pools.iter().flat_map(|pool| &pool.budgets);
        let timed = |value: &str| value != "true";
        let lasting = |template: &crate::plan::PodTemplate| template.annotations.get(DO_NOT_DISRUPT).is_some_and(timed);
        let scheduled = budgets.into_iter().any(|budget| budget.schedule.is_some());
        if scheduled || world.templates.iter().any(|template| lasting(template)) {
            return None;
        }
        // The end of a nomination makes no candidate of a claim that no method looks at; the totals of a Balanced pool look at all.
        let methods = Method::order(plan.flags.karpenter.version);
        let matters = |claim: &&NodeClaim| {
            let concerned = || methods.iter().any(|method| method.concerns(world, claim));
            claim.nominated_until > world.now
                && claim.initialized.is_some()
                && (balanced::is_used(world) || concerned())
        };
        let nominated = world.claims.iter().filter(|claim| claim.gone.is_none()).filter(matters);
        let until = nominated.map(|claim| claim.nominated_until).min().unwrap_or(Time::MAX);
        Some(Calm { version: world.candidates_version(), recalls, until })
    }

    /// It still holds.
    pub fn holds(&self, world: &World) -> bool {
        self.version == world.candidates_version() && world.now < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::karpenter::fixture::{edit_pool, node, small_plan};
    use crate::engine::Span;
    use crate::plan::{CapacityType, TemplateId};

    /// Whatever may make a node a candidate ends the calm; what only protects it does not.
    #[test]
    fn what_a_pass_reads_ends_the_calm() {
        let plan = small_plan();
        let mut world = World::new(&plan);
        let claim = node(&plan, &mut world, "t3.medium", CapacityType::OnDemand, 1);
        let id = world.claim(claim).node.expect("the fixture made it");
        let pod = world.node(id).pods[0];
        let calm = |world: &World| Calm::of(&plan, world, false).expect("nothing but changes ends it");
        let until = world.now + Span::from_secs(20);
        let changes: [&dyn Fn(&mut World); 5] = [
            &|world| world.note_instance_terminating(claim),
            &|world| world.update_pod(pod, TemplateId(0)),
            &|world| world.set_consolidatable(claim, true),
            &|world| world.set_node_annotation(id, DO_NOT_DISRUPT, Some("true")),
            &|world| world.delete_pod(pod, None, crate::world::DeleteCause::User),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let before = calm(&world);
            assert!(before.holds(&world));
            change(&mut world);
            assert!(!before.holds(&world), "change {number}");
            world.set_consolidatable(claim, false);
            world.nominate_claim(claim, until);
        }
        let before = calm(&world);
        world.nominate_claim(claim, until + Span::from_secs(1));
        assert!(before.holds(&world), "it protects the node");
    }

    #[test]
    fn a_nomination_that_ends_ends_the_calm_and_a_schedule_allows_none() {
        let mut plan = small_plan();
        let mut world = World::new(&plan);
        let claim = node(&plan, &mut world, "t3.medium", CapacityType::OnDemand, 0);
        let until = world.now + Span::from_secs(20);
        world.nominate_claim(claim, until);
        let calm = Calm::of(&plan, &world, false).expect("nothing but changes ends it");
        world.now = until.back(Span::from_micros(1));
        assert!(calm.holds(&world));
        world.now = until;
        assert!(!calm.holds(&world));
        edit_pool(&mut plan, |pool| pool.budgets[0].schedule = Some("0 9 * * *".to_string()));
        assert!(Calm::of(&plan, &World::new(&plan), false).is_none(), "the clock alone may open a budget");
    }
}
