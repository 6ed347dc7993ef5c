//! What was resolved for each binding, kept up with the controller's copies.
//!
//! ```text
//!  copies ─► resolver ─► Kept: wanted, sums ◄─ the endpoints and pods that changed     Kept ─► Resolution
//! ```
//!
//! Most changes are of one pod or endpoint among many: that one is judged anew, the others keep their places. Where an
//! endpoint does not stand for itself alone (several slices, alike addresses, fail-open), everything is resolved anew.

use super::checkpoint::Sums;
use super::objects::{Binding, BindingSpec, Endpoint, Endpoints, Kind, Name, Objects, Pod};
use super::resolver::{self, Resolved, Standing, Unresolved, Wanted, judge};
use super::targets::sort_by_key;
use super::text::Text;
use crate::plan::flags::LoadBalancerFlags;
use std::rc::Rc;

/// What was resolved for a binding.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolution {
    /// What counts, in the order of targets, each once.
    pub wanted: Rc<Vec<Wanted>>,
    /// See [`Resolved::potentially_ready`].
    pub potentially_ready: bool,
    /// The checkpoint of it.
    pub checkpoint: Rc<str>,
}

/// What was resolved, by binding.
#[derive(Clone, Debug, Default)]
pub struct Resolutions(Vec<Kept>);

/// What was resolved for a binding of this name and spec. Its gate follows from its name: nothing else of it counts.
#[derive(Clone, Debug)]
struct Kept {
    name: Name,
    gate: Rc<str>,
    spec: Rc<BindingSpec>,
    resolution: Resolution,
    /// `None`: any change may change anything.
    parts: Option<Parts>,
}

/// What each endpoint contributes.
#[derive(Clone, Debug)]
struct Parts {
    /// The only object with endpoints of the Service; it has one set.
    object: Rc<Endpoints>,
    /// The port of every target.
    port: u16,
    /// How the endpoints stand, in their order.
    places: Vec<Place>,
    /// How many are potentially ready.
    potentially_ready: usize,
    sums: Sums,
    /// The checkpoint is of other sums.
    stale: bool,
}

/// How an endpoint stands, and what says whether a change of a pod or node concerns it: most are passed by unseen.
#[derive(Clone, Copy, Debug)]
struct Place {
    standing: Standing,
    is_ready: bool,
    /// Hash of its pod's name.
    pod: u64,
}

impl Place {
    fn new(endpoint: &Endpoint, standing: Standing) -> Place {
        let pod = endpoint.pod.as_ref().map_or(0, |name| name.hash_value());
        Place { standing, is_ready: endpoint.is_ready(), pod }
    }
}

impl Resolutions {
    /// An object was written or has vanished, and the copies show that.
    pub fn follow(&mut self, copies: &Objects, kind: Kind, name: &Name) {
        match kind {
            Kind::Binding => {}
            Kind::Service => self.0.clear(),
            Kind::EndpointSlice | Kind::Endpoints | Kind::Node | Kind::Pod => {
                self.0.retain_mut(|kept| kept.follow(copies, kind, name).is_some());
            }
        }
    }

    /// What should be the targets of a binding, if that has been kept up with.
    pub fn known(&mut self, copies: &Objects, binding: &Binding, flags: &LoadBalancerFlags) -> Option<&Resolution> {
        let kept = self.0.iter_mut().find(|kept| kept.name == binding.name && kept.spec == binding.spec)?;
        let resolution = kept.resolution(flags);
        debug_assert_eq!(resolve(copies, binding, flags).as_ref(), Ok(resolution));
        Some(resolution)
    }

    /// What should be the targets of a binding; nothing if it has no type of targets.
    ///
    /// # Errors
    /// They cannot be resolved.
    pub fn resolve(
        &mut self,
        copies: &Objects,
        binding: &Binding,
        flags: &LoadBalancerFlags,
    ) -> Result<Resolution, Unresolved> {
        if let Some(resolution) = self.known(copies, binding, flags) {
            return Ok(resolution.clone());
        }
        let resolution = resolve(copies, binding, flags)?;
        let kept = Kept {
            name: binding.name.clone(),
            gate: binding.gate.clone(),
            spec: binding.spec.clone(),
            resolution: resolution.clone(),
            parts: Parts::of(copies, binding, &resolution.wanted, flags),
        };
        match self.0.iter_mut().find(|other| other.name == binding.name) {
            Some(other) => *other = kept,
            None => self.0.push(kept),
        }
        Ok(resolution)
    }
}

/// Everything anew.
fn resolve(copies: &Objects, binding: &Binding, flags: &LoadBalancerFlags) -> Result<Resolution, Unresolved> {
    let Resolved { mut wanted, potentially_ready } = resolver::resolve(copies, binding, flags)?;
    let checkpoint = Sums::of(&wanted).checkpoint(&binding.spec, wanted.len());
    sort_by_key(&mut wanted, Wanted::key);
    Ok(Resolution { wanted: wanted.into(), potentially_ready, checkpoint })
}

impl Kept {
    fn resolution(&mut self, flags: &LoadBalancerFlags) -> &Resolution {
        if let Some(parts) = &mut self.parts {
            self.resolution.potentially_ready = parts.potentially_ready > 0 && !flags.watches_pods;
            if std::mem::take(&mut parts.stale) {
                self.resolution.checkpoint = parts.sums.checkpoint(&self.spec, self.resolution.wanted.len());
            }
        }
        &self.resolution
    }

    /// Follows a change; `None`: this has to be forgotten.
    fn follow(&mut self, copies: &Objects, kind: Kind, name: &Name) -> Option<()> {
        let Kept { gate, spec, resolution, parts, .. } = self;
        let (parts, wanted) = (parts.as_mut()?, &mut resolution.wanted);
        match kind {
            Kind::Binding | Kind::Service => {}
            Kind::EndpointSlice | Kind::Endpoints => {
                let new = copies.endpoints_of(kind).get(name);
                if (kind, name) == (parts.object.kind, &parts.object.name) {
                    parts.move_to(copies, gate, wanted, new?)?;
                } else if new.is_some_and(|new| new.service.as_ref() == Some(&spec.service)) {
                    return None;
                }
            }
            Kind::Node => {
                // A node is looked at only for what is not ready.
                let is_there = |pod: &Name| copies.pods.get(pod).is_some_and(|pod| pod.node == name.name);
                let concerns = |endpoint: &Endpoint| endpoint.pod.as_ref().is_some_and(is_there);
                parts.judge_anew(copies, gate, wanted, |place| !place.is_ready, concerns)?;
            }
            Kind::Pod => {
                let hash = name.hash_value();
                let concerns = |endpoint: &Endpoint| endpoint.pod.as_ref() == Some(name);
                parts.judge_anew(copies, gate, wanted, |place| place.pod == hash, concerns)?;
            }
        }
        // Without anything that counts, what else there is may count.
        (!wanted.is_empty()).then_some(())
    }
}

impl Parts {
    /// What each endpoint contributes to what is wanted, if each stands for itself.
    fn of(copies: &Objects, binding: &Binding, wanted: &[Wanted], flags: &LoadBalancerFlags) -> Option<Parts> {
        let (object, port) = resolver::only_endpoints(copies, binding, flags)?;
        let judge = |endpoint: &Rc<Endpoint>| {
            endpoint.address.as_ref()?;
            let standing = judge(copies, endpoint, copies.pods.get(endpoint.pod.as_ref()?), &binding.gate);
            Some(Place::new(endpoint, standing))
        };
        let endpoints = object.sets.iter().flat_map(|set| &set.endpoints);
        let places: Vec<Place> = endpoints.map(judge).collect::<Option<_>>()?;
        let count = |standing| places.iter().filter(|place| place.standing == standing).count();
        // Fewer are wanted than count where some are alike.
        let simple = count(Standing::Counted) == wanted.len() && count(Standing::NodeUnknown) == 0;
        let potentially_ready = count(Standing::PotentiallyReady);
        let sums = Sums::of(wanted);
        let parts = Parts { port, places, potentially_ready, sums, stale: false, object: object.clone() };
        (simple && !wanted.is_empty()).then_some(parts)
    }

    /// Judges some endpoints anew: those of the places that `may` be concerned and are. The objects with endpoints are as
    /// before.
    fn judge_anew(
        &mut self,
        copies: &Objects,
        gate: &str,
        wanted: &mut Rc<Vec<Wanted>>,
        may: impl Fn(&Place) -> bool,
        concerns: impl Fn(&Endpoint) -> bool,
    ) -> Option<()> {
        let mut next = 0;
        while let Some(passed) = self.places[next..].iter().position(&may) {
            let place = next + passed;
            next = place + 1;
            let endpoint = &self.object.sets.first()?.endpoints[place];
            if concerns(endpoint) {
                let (endpoint, standing) = (endpoint.clone(), self.places[place].standing);
                if !self.stays_counted(copies, gate, wanted, &endpoint, standing) {
                    self.leave(wanted, &endpoint, standing)?;
                    self.places[place] = self.enter(copies, gate, wanted, &endpoint)?;
                }
            }
        }
        Some(())
    }

    /// A ready endpoint counts as long as there is its pod, whatever else changes of that.
    fn stays_counted(
        &self,
        copies: &Objects,
        gate: &str,
        wanted: &mut Rc<Vec<Wanted>>,
        endpoint: &Endpoint,
        standing: Standing,
    ) -> bool {
        let (true, Standing::Counted, Some(address)) = (endpoint.is_ready(), standing, &endpoint.address) else {
            return false;
        };
        let Ok(place) = place_of(wanted, (address, self.port)) else { return false };
        let pod = endpoint.pod.as_ref().and_then(|name| copies.pods.get(name));
        let is_same = |pod: &&Rc<Pod>| wanted[place].pod().is_some_and(|before| before.created == pod.created);
        let Some(pod) = pod.filter(is_same) else { return false };
        Rc::make_mut(wanted)[place] = Wanted::of_pod(address, self.port, pod, gate);
        true
    }

    /// Goes on with another state of the object with the endpoints. Both have what they have in common in one order; if they
    /// do not, more is judged anew than would be necessary.
    fn move_to(
        &mut self,
        copies: &Objects,
        gate: &str,
        wanted: &mut Rc<Vec<Wanted>>,
        new: &Rc<Endpoints>,
    ) -> Option<()> {
        let old = std::mem::replace(&mut self.object, new.clone());
        let ([before], [after]) = (&*old.sets, &*new.sets) else { return None };
        if before.ports != after.ports || old.service != new.service || !new.is_ipv4 {
            return None;
        }
        // Mostly one endpoint differs.
        let (first, before, after) = between(&before.endpoints, &after.endpoints);
        let mut left = before.iter().peekable();
        for (position, endpoint) in after.iter().enumerate() {
            let place = first + position;
            let comes_later = |other: &Endpoint| after[position + 1..].iter().any(|later| later.pod == other.pod);
            let stays = |other: &Rc<Endpoint>| Rc::ptr_eq(other, endpoint);
            let leaves = |other: &Rc<Endpoint>| other.pod == endpoint.pod || !comes_later(other);
            while let Some(other) = left.next_if(|other| !stays(other) && leaves(other)) {
                let standing = self.places.remove(place).standing;
                self.leave(wanted, other, standing)?;
            }
            if left.next_if(|other| stays(other)).is_none() {
                let entered = self.enter(copies, gate, wanted, endpoint)?;
                self.places.insert(place, entered);
            }
        }
        left.try_for_each(|other| {
            let standing = self.places.remove(first + after.len()).standing;
            self.leave(wanted, other, standing)
        })
    }

    /// Takes out what an endpoint contributes.
    fn leave(&mut self, wanted: &mut Rc<Vec<Wanted>>, endpoint: &Endpoint, standing: Standing) -> Option<()> {
        match standing {
            Standing::Counted => {
                let place = place_of(wanted, (endpoint.address.as_ref()?, self.port)).ok()?;
                let want = Rc::make_mut(wanted).remove(place);
                self.sums.take(&want);
                self.stale = true;
            }
            Standing::PotentiallyReady => self.potentially_ready -= 1,
            Standing::NodeUnknown | Standing::Out => {}
        }
        Some(())
    }

    /// Judges an endpoint and puts in what it contributes; `None`: it does not stand for itself.
    fn enter(
        &mut self,
        copies: &Objects,
        gate: &str,
        wanted: &mut Rc<Vec<Wanted>>,
        endpoint: &Endpoint,
    ) -> Option<Place> {
        let (name, address) = endpoint.pod.as_ref().zip(endpoint.address.as_ref())?;
        let pod = copies.pods.get(name);
        let standing = judge(copies, endpoint, pod, gate);
        match standing {
            Standing::Counted => {
                let place = place_of(wanted, (address, self.port)).err()?;
                let want = Wanted::of_pod(address, self.port, pod?, gate);
                self.sums.add(&want);
                Rc::make_mut(wanted).insert(place, want);
                self.stale = true;
            }
            Standing::PotentiallyReady => self.potentially_ready += 1,
            Standing::NodeUnknown => return None,
            Standing::Out => {}
        }
        Some(Place::new(endpoint, standing))
    }
}

/// Two lists without what both begin and end with, and where they differ first.
fn between<'l>(one: &'l [Rc<Endpoint>], other: &'l [Rc<Endpoint>]) -> (usize, &'l [Rc<Endpoint>], &'l [Rc<Endpoint>]) {
    let is_same = |(one, other): &(&Rc<Endpoint>, &Rc<Endpoint>)| Rc::ptr_eq(one, other);
    let first = one.iter().zip(other).take_while(is_same).count();
    let (one, other) = (&one[first..], &other[first..]);
    let last = one.iter().rev().zip(other.iter().rev()).take_while(is_same).count();
    (first, &one[..one.len() - last], &other[..other.len() - last])
}

fn place_of(wanted: &[Wanted], key: (&Text, u16)) -> Result<usize, usize> {
    wanted.binary_search_by(|want| Text::order_with_ports(want.key(), key))
}
