//! How many pods of which template and controller exist and are healthy, kept with every change so that nobody has to count pods.
//!
//! ```text
//!  a pod appears, vanishes, becomes Ready or not, is to be deleted, gets another spec ─► count_member ─► Headcount
//! ```

use super::{Owner, PodId, World};
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

impl World {
    /// The pods that exist, by template and controller.
    pub fn headcounts(&self) -> impl Iterator<Item = (TemplateId, &Headcount)> {
        let by_template = self.headcounts.of_template.iter().enumerate();
        by_template.flat_map(|(template, counts)| counts.iter().map(move |count| (TemplateId::at(template), count)))
    }

    /// After every change of a pod that may change as what it is counted.
    pub(super) fn count_member(&mut self, pod: PodId) {
        let entry = &self.pods[pod.index()];
        let healthy = entry.is_ready() && entry.deleting_since.is_none();
        let member = Member { template: entry.template, owner: entry.owner, healthy };
        let now = entry.gone.is_none().then_some(member);
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
