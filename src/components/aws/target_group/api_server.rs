//! What the API server holds of the objects that the controller watches, and the watch that brings it their changes.
//!
//! ```text
//!  others' writes, the controller's patches ─► stored objects ─► one queue, first in, first out ─(watch)─► Delivery
//! ```
//!
//! All writes to all objects come in their order. A write that leaves an object as it is makes no delivery.
//!
//! Source: apimachinery `pkg/util/strategicpatch`, apiserver `pkg/endpoints/handlers/patch.go` (preconditions),
//! `pkg/registry/generic/registry/store.go` (finalizers, generation).

use super::objects::{
    Binding, BindingPatch, Condition, GatePatch, Kind, Name, Object, Objects, Patched, Pod, Refused, Status,
};
use crate::engine::{Span, Time};
use std::collections::VecDeque;
use std::rc::Rc;

/// A change on its way to the controller.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// An object was written.
    Written(Object),
    /// An object vanished.
    Gone(Kind, Name),
}

impl Delivery {
    /// Kind and name of the object.
    pub fn key(&self) -> (Kind, &Name) {
        match self {
            Delivery::Written(object) => object.key(),
            Delivery::Gone(kind, name) => (*kind, name),
        }
    }
}

/// The stored objects and the watch.
#[derive(Debug, Default)]
pub struct ApiServer {
    stored: Objects,
    version: u64,
    on_the_way: VecDeque<(Time, Delivery)>,
    /// Each delivery comes so long after the one before it at the earliest.
    spacing: Span,
    /// When the newest delivery comes.
    last: Option<Time>,
}

impl ApiServer {
    /// One that keeps deliveries so far apart at least.
    pub fn with_spacing(spacing: Span) -> ApiServer {
        ApiServer { spacing, ..ApiServer::default() }
    }

    /// The stored objects.
    pub fn stored(&self) -> &Objects {
        &self.stored
    }

    /// A list and a new watch: everything stored, and what was on its way is forgotten.
    pub fn list(&mut self) -> Objects {
        self.on_the_way.clear();
        self.stored.clone()
    }

    /// Somebody writes an object as a whole; its delivery takes `latency`.
    pub fn write(&mut self, now: Time, latency: Span, object: Object) {
        if self.stored.holds(&object) {
            return;
        }
        let object = match object {
            Object::Binding(binding) => {
                let mut binding = Rc::unwrap_or_clone(binding);
                if let Some(before) = self.stored.bindings.get(&binding.name) {
                    binding.generation = before.generation + i64::from(before.spec.text != binding.spec.text);
                }
                self.version += 1;
                binding.version = self.version;
                Object::Binding(Rc::new(binding))
            }
            object => object,
        };
        self.stored.put(object.clone());
        self.send(now, latency, Delivery::Written(object));
    }

    /// Somebody deletes an object: one with a finalizer is only marked.
    pub fn delete(&mut self, now: Time, latency: Span, kind: Kind, name: &Name) {
        match self.stored.get(kind, name) {
            None => {}
            Some(Object::Binding(binding)) if binding.finalizer && binding.deleting => {}
            Some(Object::Binding(binding)) if binding.finalizer => {
                self.version += 1;
                let generation = binding.generation + 1;
                let marked = Binding { deleting: true, generation, version: self.version, ..(*binding).clone() };
                let object = Object::Binding(Rc::new(marked));
                self.stored.put(object.clone());
                self.send(now, latency, Delivery::Written(object));
            }
            Some(_) => {
                self.stored.remove(kind, name);
                self.send(now, latency, Delivery::Gone(kind, name.clone()));
            }
        }
    }

    /// A patch of a binding.
    ///
    /// # Errors
    /// The binding does not exist, or its version is not the patch's.
    pub fn patch_binding(
        &mut self,
        now: Time,
        latency: Span,
        name: &Name,
        patch: &BindingPatch,
    ) -> Result<Patched<Binding>, Refused> {
        let before = self.stored.bindings.get(name).cloned().ok_or(Refused::NotFound)?;
        if patch.version.is_some_and(|version| version != before.version) {
            return Err(Refused::Conflict);
        }
        if !patch.changes(&before) {
            return Ok(Patched { object: before, changed: false });
        }
        let mut after = (*before).clone();
        after.finalizer = patch.finalizer.unwrap_or(after.finalizer);
        let annotations = &mut after.annotations;
        annotations.checkpoint = patch.checkpoint.clone().or_else(|| annotations.checkpoint.take());
        annotations.written = patch.written.clone().or_else(|| annotations.written.take());
        after.observed = patch.observed.or(after.observed);
        after.ready = patch.ready.clone().or(after.ready);
        self.version += 1;
        after.version = self.version;
        let after = Rc::new(after);
        if after.deleting && !after.finalizer {
            self.stored.remove(Kind::Binding, name);
            self.send(now, latency, Delivery::Gone(Kind::Binding, name.clone()));
        } else {
            self.stored.put(Object::Binding(after.clone()));
            self.send(now, latency, Delivery::Written(Object::Binding(after.clone())));
        }
        Ok(Patched { object: after, changed: true })
    }

    /// A patch of a pod's condition.
    ///
    /// # Errors
    /// The pod does not exist, or it is another of the same name.
    pub fn patch_pod(
        &mut self,
        now: Time,
        latency: Span,
        name: &Name,
        patch: &GatePatch,
    ) -> Result<Patched<Pod>, Refused> {
        let before = self.stored.pods.get(name).cloned().ok_or(Refused::NotFound)?;
        if before.uid != patch.uid {
            return Err(Refused::Conflict);
        }
        let mut after = (*before).clone();
        let place = after.conditions.iter().position(|condition| condition.kind == patch.kind).unwrap_or_else(|| {
            let (kind, nothing) = (patch.kind.clone(), Rc::<str>::from(""));
            after.conditions.push(Condition {
                kind,
                status: Status::Unknown,
                reason: nothing.clone(),
                text: nothing,
                since: None,
            });
            after.conditions.len() - 1
        });
        let condition = &mut after.conditions[place];
        condition.status = patch.status.unwrap_or(condition.status);
        condition.reason = patch.reason.clone().unwrap_or_else(|| condition.reason.clone());
        condition.text = patch.text.clone().unwrap_or_else(|| condition.text.clone());
        condition.since = patch.since.or(condition.since);
        if after == *before {
            return Ok(Patched { object: before, changed: false });
        }
        let after = Rc::new(after);
        self.stored.put(Object::Pod(after.clone()));
        self.send(now, latency, Delivery::Written(Object::Pod(after.clone())));
        Ok(Patched { object: after, changed: true })
    }

    fn send(&mut self, now: Time, latency: Span, delivery: Delivery) {
        let at = now + latency;
        let at = self.last.map_or(at, |last| at.max(last + self.spacing));
        self.last = Some(at);
        self.on_the_way.push_back((at, delivery));
    }

    /// When the next delivery comes.
    pub fn due(&self) -> Option<Time> {
        self.on_the_way.front().map(|&(at, _)| at)
    }

    /// The next delivery, if it has come.
    pub fn take(&mut self, now: Time) -> Option<Delivery> {
        self.due().filter(|&due| due <= now)?;
        self.on_the_way.pop_front().map(|(_, delivery)| delivery)
    }
}
