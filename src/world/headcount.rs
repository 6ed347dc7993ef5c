//! How many pods of which template and controller exist and are healthy, kept with every change so that nobody has to count pods.
//!
//! ```text
//!  a pod appears, vanishes, becomes Ready or not, is to be deleted, gets another spec ─► count_member ─► Headcount
//! ```

use super::{Owner, Pod, PodId, World};
use crate::plan::TemplateId;

/// The pods of one template and one controller that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headcount {
    /// Their controller.
    pub owner: Owner,
    /// So many exist.
    pub existing: u32,
    /// So many of them are Ready and are not to be deleted.
    pub healthy: u32,
}

/// As what a pod that exists is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Member {
    template: TemplateId,
    owner: Owner,
    healthy: bool,
}

impl Member {
    fn of(pod: &Pod) -> Member {
        let healthy = pod.is_ready() && pod.deleting_since.is_none();
        Member { template: pod.template, owner: pod.owner, healthy }
    }
}

/// The headcounts of a world.
#[derive(Clone, Debug, Default)]
pub(super) struct Headcounts {
    /// By template; without those of which no pod exists.
    of_template: Vec<Vec<Headcount>>,
    members: Vec<Option<Member>>,
}

impl Headcounts {
    fn add(&mut self, member: Member) {
        let Member { template, owner, healthy } = member;
        if self.of_template.len() <= template.index() {
            self.of_template.resize(template.index() + 1, Vec::new());
        }
        let counts = &mut self.of_template[template.index()];
        match counts.iter_mut().find(|count| count.owner == owner) {
            Some(count) => {
                count.existing += 1;
                count.healthy += u32::from(healthy);
            }
            None => counts.push(Headcount { owner, existing: 1, healthy: u32::from(healthy) }),
        }
    }

    fn take(&mut self, member: Member) {
        let counts = &mut self.of_template[member.template.index()];
        let Some(place) = counts.iter().position(|count| count.owner == member.owner) else { return };
        counts[place].existing -= 1;
        counts[place].healthy -= u32::from(member.healthy);
        if counts[place].existing == 0 {
            counts.swap_remove(place);
        }
    }
}

/// Those of a template, which may have none yet.
fn of(counts: &[Vec<Headcount>], template: usize) -> &[Headcount] {
    counts.get(template).map_or(&[], Vec::as_slice)
}

impl World {
    /// The pods that exist, by template and controller.
    pub fn headcounts(&self) -> impl Iterator<Item = (TemplateId, &Headcount)> {
        let by_template = self.headcounts.of_template.iter().enumerate();
        by_template.flat_map(|(template, counts)| counts.iter().map(move |count| (TemplateId::at(template), count)))
    }

    /// The headcounts are what counting the pods gives.
    ///
    /// # Errors
    /// Where they are not.
    pub(super) fn check_headcounts(&self) -> Result<(), String> {
        let mut anew = Headcounts::default();
        let exist = self.pods.iter().filter(|pod| pod.gone.is_none());
        exist.for_each(|pod| anew.add(Member::of(pod)));
        // Their order is that in which controllers came and went.
        let (anew, kept) = (anew.of_template, &self.headcounts.of_template);
        let same = (0..anew.len().max(kept.len())).all(|template| {
            let (anew, kept) = (of(&anew, template), of(kept, template));
            anew.len() == kept.len() && anew.iter().all(|count| kept.contains(count))
        });
        if same { Ok(()) } else { Err("the headcounts are not those of the pods".to_string()) }
    }

    /// After every change of a pod that may change as what it is counted.
    pub(super) fn count_member(&mut self, pod: PodId) {
        let entry = &self.pods[pod.index()];
        let now = entry.gone.is_none().then(|| Member::of(entry));
        let counts = &mut self.headcounts;
        if counts.members.len() <= pod.index() {
            counts.members.resize(pod.index() + 1, None);
        }
        let before = std::mem::replace(&mut counts.members[pod.index()], now);
        if before != now {
            before.into_iter().for_each(|member| counts.take(member));
            now.into_iter().for_each(|member| counts.add(member));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::kubernetes::testbed::{self, Testbed, node, plan, template};
    use crate::engine::Span;
    use crate::world::{DeleteCause, PodPhase};

    #[test]
    fn pods_are_counted_as_they_come_become_ready_and_go() {
        let mut world = World::new(&plan(vec![template(10)]));
        let node = Testbed::ready_node(&mut world, node("a", 1000, "x"));
        let pods = [0; 3].map(|_| {
            let pod = testbed::new_pod(&mut world, 0);
            world.bind_pod(pod, node);
            world.set_pod_phase(pod, PodPhase::Running);
            pod
        });
        let counts = |world: &World| -> Vec<(u32, u32)> {
            world.headcounts().map(|(_, count)| (count.existing, count.healthy)).collect()
        };
        assert_eq!(counts(&world), [(3, 0)]);
        pods.iter().for_each(|&pod| world.set_pod_ready(pod, true));
        assert_eq!(counts(&world), [(3, 3)]);
        world.delete_pod(pods[0], Some(Span::from_secs(30)), DeleteCause::User);
        world.set_pod_ready(pods[1], false);
        assert_eq!(counts(&world), [(3, 1)], "one leaves, and one is not Ready");
        world.remove_pod(pods[0]);
        assert_eq!((counts(&world), world.check_headcounts()), (vec![(2, 1)], Ok(())));
        world.pods[pods[1].index()].ready.status = Some(true);
        assert!(world.check_headcounts().is_err(), "a change behind its back is found");
    }
}
