//! What the disruption of a template's pods has to reckon with, whatever becomes of each pod: found out once for each template.
//!
//! In: templates and PodDisruptionBudgets. Out: by template, whether pods forbid disruption by annotation, which budget selects
//! them, what an eviction costs. Who edits a template or a budget makes a new one, and that is looked at anew.

use super::{Hold, cost_of_eviction, do_not_disrupt, eviction_budget};
use crate::plan::{PdbSpec, PodTemplate, TemplateId};
use crate::world::World;
use std::sync::Arc;

/// Of the pods of a template.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burden {
    /// They have the annotation.
    pub annotated: bool,
    /// What their eviction costs.
    pub cost: f64,
    budget: Option<Selecting>,
}

/// Budgets that select a template's pods.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Selecting {
    /// The only one, by position.
    One(usize),
    Several,
}

impl Burden {
    fn of(world: &World, template: &PodTemplate) -> Burden {
        let budget = eviction_budget(world, template).map(|hold| match hold {
            Hold::Budget(pdb) => Selecting::One(pdb.id.index()),
            Hold::Several => Selecting::Several,
        });
        Burden { annotated: do_not_disrupt(template).is_some(), cost: cost_of_eviction(template), budget }
    }

    /// What an eviction has to reckon with.
    pub fn budget<'w>(&self, world: &'w World) -> Option<Hold<'w>> {
        self.budget.map(|budget| match budget {
            Selecting::One(position) => Hold::Budget(&world.pdbs[position]),
            Selecting::Several => Hold::Several,
        })
    }
}

/// Those of all templates.
#[derive(Clone, Debug, Default)]
pub struct Burdens {
    known: Vec<(Arc<PodTemplate>, Burden)>,
    /// The budgets of then.
    budgets: Vec<Arc<PdbSpec>>,
}

impl Burdens {
    /// They are those of the templates and budgets of now.
    pub fn are_of(&self, world: &World) -> bool {
        let same_templates = self.known.iter().zip(&world.templates).all(|(known, now)| Arc::ptr_eq(&known.0, now));
        self.known.len() == world.templates.len() && same_templates && self.knows_budgets(world)
    }

    fn knows_budgets(&self, world: &World) -> bool {
        let same = |(known, now): (&Arc<PdbSpec>, &crate::world::Pdb)| Arc::ptr_eq(known, &now.spec);
        self.budgets.len() == world.pdbs.len() && self.budgets.iter().zip(&world.pdbs).all(same)
    }

    /// Looks at what is new or was replaced.
    pub fn refresh(&mut self, world: &World) {
        if !self.knows_budgets(world) {
            self.known.clear();
            self.budgets = world.pdbs.iter().map(|pdb| pdb.spec.clone()).collect();
        }
        let found = |template: &Arc<PodTemplate>| (template.clone(), Burden::of(world, template));
        self.known.truncate(world.templates.len());
        for (known, now) in self.known.iter_mut().zip(&world.templates) {
            if !Arc::ptr_eq(&known.0, now) {
                *known = found(now);
            }
        }
        self.known.extend(world.templates.iter().skip(self.known.len()).map(found));
    }

    /// That of a template.
    #[inline]
    pub fn of(&self, template: TemplateId) -> &Burden {
        &self.known[template.index()].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::karpenter::cluster::DO_NOT_DISRUPT;
    use crate::components::karpenter::fixture::small_plan;

    #[test]
    fn a_template_or_a_budget_that_is_replaced_is_looked_at_again() {
        let mut world = World::new(&small_plan());
        let mut burdens = Burdens::default();
        let look = |burdens: &mut Burdens, world: &World| {
            assert!(!burdens.are_of(world));
            burdens.refresh(world);
            assert!(burdens.are_of(world));
            *burdens.of(TemplateId(0))
        };
        assert!(!look(&mut burdens, &world).annotated);
        let template = Arc::make_mut(&mut world.templates[0]);
        template.annotations.insert(DO_NOT_DISRUPT, "true");
        assert!(look(&mut burdens, &world).annotated);
        let spec = PdbSpec {
            namespace: world.templates[0].namespace.clone(),
            name: "budget".to_string(),
            selector: Some(Default::default()),
            min_available: None,
            max_unavailable: None,
            always_allow_unhealthy: false,
        };
        world.create_pdb(Arc::new(spec));
        assert!(matches!(look(&mut burdens, &world).budget(&world), Some(Hold::Budget(_))));
    }
}
