//! Which machine of a recording a NodeClaim stands for, whose delays are known.
//!
//! In: the claims so far, and what is known of the machines of a recording. Out: for each claim its machine. Claims of one
//! batch are made at the same time, in any order, so a machine is known by its pool, its type and what it was made for, and
//! only among equals by its place.

use super::{ClaimId, World};
use crate::plan::Plan;
use crate::plan::timing::KnownMachine;

impl World {
    /// The machine that each claim stands for, by its place in what the plan knows.
    pub fn known_machines(&self, plan: &Plan) -> Vec<Option<usize>> {
        let own: Vec<KnownMachine> = self.claims.iter().map(|claim| self.as_machine(plan, claim.id)).collect();
        matched(&plan.known_delays.machines, &own)
    }

    /// The machine that a claim stands for.
    pub fn known_machine(&self, plan: &Plan, claim: ClaimId) -> Option<usize> {
        if plan.known_delays.machines.is_empty() {
            return None;
        }
        self.known_machines(plan)[claim.index()]
    }

    fn as_machine(&self, plan: &Plan, claim: ClaimId) -> KnownMachine {
        let entry = &self.claims[claim.index()];
        let instance = entry.instance.map(|instance| &self.instances[instance.index()]);
        KnownMachine {
            pool: plan.node_pools[entry.pool.index()].name.clone(),
            instance_type: instance.map_or_else(String::new, |one| plan.instance_type(one.instance_type).name.clone()),
            millicores: entry.requests.cpu.0,
            pods: entry.requests.pods,
        }
    }
}

/// Whoever has an equal takes it; the others take what is left, the most alike first.
fn matched(machines: &[KnownMachine], own: &[KnownMachine]) -> Vec<Option<usize>> {
    let mut found: Vec<Option<usize>> = vec![None; own.len()];
    let mut free: Vec<usize> = (0..machines.len()).collect();
    for likeness in (0..=KnownMachine::ALIKE).rev() {
        for (one, place) in own.iter().zip(&mut found).filter(|(_, place)| place.is_none()) {
            let alike = free.iter().position(|&machine| machines[machine].likeness(one) >= likeness);
            *place = alike.map(|at| free.remove(at));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::matched;
    use crate::engine::{Span, Time};
    use crate::plan::Plan;
    use crate::plan::timing::KnownMachine;

    #[test]
    fn a_machine_is_like_another_in_pool_then_type_then_what_it_was_made_for() {
        let machine = |pool: &str, kind: &str, pods: i64| KnownMachine {
            pool: pool.into(),
            instance_type: kind.into(),
            millicores: 500 * pods,
            pods,
        };
        let one = machine("default", "c-4x", 7);
        let likeness = |other: KnownMachine| one.likeness(&other);
        assert_eq!(likeness(one.clone()), KnownMachine::ALIKE);
        assert_eq!(likeness(machine("default", "c-4x", 3)), 2);
        assert_eq!(likeness(machine("default", "c-8x", 7)), 1, "what it was made for counts among equal types");
        assert_eq!(likeness(machine("spare", "c-4x", 7)), 0);
    }

    #[test]
    fn who_has_an_equal_takes_it_whatever_the_order() {
        let machine = |pool: &str, pods: i64| KnownMachine { pool: pool.into(), pods, ..KnownMachine::default() };
        let recorded = [machine("a", 7), machine("b", 15), machine("a", 7), machine("b", 1)];
        let own = [machine("b", 1), machine("b", 2), machine("a", 7), machine("a", 3), machine("a", 3)];
        assert_eq!(matched(&recorded, &own), [Some(3), Some(1), Some(0), Some(2), None]);
    }

    #[test]
    fn names_have_another_order_in_each_draw_and_none_without() {
        let mut plan = Plan::empty(Time::from_unix_seconds(1_000), Span::from_secs(10));
        let order = |plan: &Plan| -> Vec<u64> { (0..4).map(|claim| plan.known_delays.place_of_name(claim)).collect() };
        assert_eq!(order(&plan), [0; 4]);
        plan.known_delays.name_order = 1;
        let first = order(&plan);
        plan.known_delays.name_order = 2;
        assert_ne!(first, order(&plan));
        assert!(first.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
