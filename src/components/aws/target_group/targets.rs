//! What the controller remembers of the targets of a group, and what it asks AWS about them.
//!
//! A full list is kept for five minutes from the end of its call; between, only targets not known as healthy are asked
//! about. Registered and deregistered targets are of unknown health until then.
//!
//! Source: aws-load-balancer-controller `pkg/targetgroupbinding/targets_manager.go`, `targets_manager_types.go`.

use super::objects::Name;
use super::text::Text;
use crate::engine::{Span, Time};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::rc::Rc;

/// What the load balancer says of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// `State`.
    pub state: Rc<str>,
    /// `Reason`, may be empty.
    pub reason: Rc<str>,
    /// `Description`, may be empty.
    pub text: Rc<str>,
}

impl Health {
    /// What is said of a target that was registered this instant.
    pub fn registering() -> Health {
        Health {
            state: "initial".into(),
            reason: "Elb.RegistrationInProgress".into(),
            text: "Target registration is in progress".into(),
        }
    }
}

/// A target: address or instance id, and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Address or instance id.
    pub id: Text,
    /// Port.
    pub port: u16,
}

impl Target {
    /// The string by which targets are matched and ordered.
    pub fn key(&self) -> String {
        format!("{}:{}", self.id, self.port)
    }

    /// The order of the strings `id:port` by which targets are matched.
    pub fn order(&self, other: &Target) -> Ordering {
        Text::order_with_ports((&self.id, self.port), (&other.id, other.port))
    }
}

/// Sorts what has an id and a port by the strings `id:port`; of several alike the last is kept.
pub fn sort_by_key<T>(items: &mut Vec<T>, key: impl Fn(&T) -> (&Text, u16)) {
    items.sort_by(|one, two| Text::order_with_ports(key(one), key(two)));
    items.dedup_by(|later, kept| {
        let alike = key(later) == key(kept);
        if alike {
            std::mem::swap(later, kept);
        }
        alike
    });
}

/// A target to be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// What is registered.
    pub target: Target,
    /// `AvailabilityZone`.
    pub zone: Option<Rc<str>>,
    /// The pod or node that it stands for.
    pub behind: Name,
}

/// A target and its health; `None`: unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The target.
    pub target: Target,
    /// Its health.
    pub health: Option<Rc<Health>>,
}

impl Known {
    fn state(&self) -> &str {
        self.health.as_ref().map_or("", |health| &health.state)
    }

    /// Known to be healthy.
    pub fn is_healthy(&self) -> bool {
        self.state() == "healthy"
    }

    /// Known to be draining.
    pub fn is_draining(&self) -> bool {
        matches!(self.state(), "draining" | "unhealthy.draining")
    }

    fn is_not_registered(&self) -> bool {
        self.state() == "unused" && self.health.as_ref().is_some_and(|health| &*health.reason == "Target.NotRegistered")
    }
}

/// What has to be asked before the targets of a group are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// All targets.
    All,
    /// These.
    Some(Rc<Vec<Target>>),
    /// Nothing.
    Nothing,
}

#[derive(Clone, Debug)]
struct List {
    group: Rc<str>,
    expires: Time,
    targets: Vec<Known>,
}

/// The lists of the target groups, in no order: there are few.
#[derive(Clone, Debug, Default)]
pub struct TargetCache {
    lists: Vec<List>,
}

impl TargetCache {
    fn place(&self, group: &Rc<str>) -> Option<usize> {
        self.lists.iter().position(|list| Rc::ptr_eq(&list.group, group) || list.group == *group)
    }

    fn list(&mut self, group: &Rc<str>, now: Time) -> Option<&mut List> {
        let place = self.place(group)?;
        if self.lists[place].expires <= now {
            self.lists.swap_remove(place);
            return None;
        }
        Some(&mut self.lists[place])
    }

    /// What has to be asked.
    pub fn question(&mut self, group: &Rc<str>, now: Time) -> Question {
        let Some(list) = self.list(group, now) else { return Question::All };
        let asked = list.targets.iter().filter(|known| !known.is_healthy());
        let asked: Vec<Target> = asked.map(|known| known.target.clone()).collect();
        if asked.is_empty() { Question::Nothing } else { Question::Some(Rc::new(asked)) }
    }

    /// The targets of a group after the answer to `question`, which is remembered.
    pub fn answered(
        &mut self,
        group: &Rc<str>,
        question: &Question,
        answer: Vec<Known>,
        now: Time,
        lifetime: Span,
    ) -> Cow<'_, [Known]> {
        let place = self.place(group);
        if *question == Question::All {
            let list = List { group: group.clone(), expires: now + lifetime, targets: answer };
            let place = place.unwrap_or(self.lists.len());
            match self.lists.get_mut(place) {
                Some(known) => *known = list,
                None => self.lists.push(list),
            }
            return Cow::Borrowed(&self.lists[place].targets);
        }
        // A list that has expired during the call is still the one that was asked about.
        let Some(place) = place else { return Cow::Owned(answer) };
        let list = &mut self.lists[place];
        list.targets.retain(Known::is_healthy);
        list.targets.extend(answer.into_iter().filter(|known| !known.is_not_registered()));
        Cow::Borrowed(&list.targets)
    }

    /// Targets were registered.
    pub fn registered(&mut self, group: &Rc<str>, targets: &[Registration], now: Time) {
        let Some(list) = self.list(group, now) else { return };
        for registration in targets {
            match list.targets.iter_mut().find(|known| known.target == registration.target) {
                Some(known) => known.health = None,
                None => list.targets.push(Known { target: registration.target.clone(), health: None }),
            }
        }
    }

    /// Targets were deregistered.
    pub fn deregistered(&mut self, group: &Rc<str>, targets: &[Target], now: Time) {
        let Some(list) = self.list(group, now) else { return };
        for known in list.targets.iter_mut().filter(|known| targets.contains(&known.target)) {
            known.health = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(id: &str, state: &str) -> Known {
        let health = Health { state: state.into(), reason: "".into(), text: "".into() };
        Known { target: Target { id: id.into(), port: 80 }, health: Some(health.into()) }
    }

    #[test]
    fn a_list_lives_five_minutes_and_only_unhealthy_targets_are_asked_about() {
        let (mut cache, now, group) = (TargetCache::default(), Time::from_unix_seconds(1000), Rc::<str>::from("web"));
        let life = Span::from_secs(300);
        assert_eq!(cache.question(&group, now), Question::All);
        let answer = vec![known("a", "healthy"), known("b", "initial")];
        cache.answered(&group, &Question::All, answer, now, life);
        let b = Target { id: "b".into(), port: 80 };
        let question = cache.question(&group, now + Span::from_secs(299));
        assert_eq!(question, Question::Some(vec![b.clone()].into()));
        cache.answered(&group, &question, vec![known("b", "healthy")], now, life);
        assert_eq!(cache.question(&group, now), Question::Nothing);
        cache.deregistered(&group, std::slice::from_ref(&b), now);
        assert_eq!(cache.question(&group, now), Question::Some(vec![b].into()), "of unknown health");
        assert_eq!(cache.question(&group, now + life), Question::All);
    }

    #[test]
    fn of_targets_that_are_alike_the_last_is_kept() {
        let item = |id: &str, port: u16, mark: char| (Text::from(id), port, mark);
        let mut items = vec![item("b", 1, 'x'), item("a", 2, 'x'), item("b", 1, 'y'), item("b", 1, 'z')];
        sort_by_key(&mut items, |(id, port, _)| (id, *port));
        assert_eq!(items, [item("a", 2, 'x'), item("b", 1, 'z')]);
    }

    #[test]
    fn a_target_that_is_not_registered_any_more_is_forgotten() {
        let (mut cache, now, group) = (TargetCache::default(), Time::from_unix_seconds(1000), Rc::<str>::from("web"));
        cache.answered(&group, &Question::All, vec![known("a", "draining")], now, Span::from_secs(300));
        let question = cache.question(&group, now);
        let mut gone = known("a", "unused");
        let unregistered = |health: Rc<Health>| Health { reason: "Target.NotRegistered".into(), ..(*health).clone() };
        gone.health = gone.health.map(|health| Rc::new(unregistered(health)));
        assert!(cache.answered(&group, &question, vec![gone], now, Span::from_secs(300)).is_empty());
        assert_eq!(cache.question(&group, now), Question::Nothing);
    }
}
