//! Deployments, StatefulSets and ReplicaSets: objects of the API server with their status.
//!
//! Each function here is one write of an object: one change, and so one watch event.

use super::change::Change;
use super::ids::{PodId, ReplicaSetId};
use super::{Owner, World};
use crate::engine::{Span, Time};
use crate::plan::{DeploymentId, DeploymentSpec, HpaId, TemplateId};
use std::sync::Arc;

/// A Deployment.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Its id in the plan.
    pub id: DeploymentId,
    /// Its spec; `replicas` in it is the initial one.
    pub spec: Arc<DeploymentSpec>,
    /// `spec.replicas` now.
    pub replicas: i32,
    /// Its ReplicaSets that exist, oldest first.
    pub replica_sets: Vec<ReplicaSetId>,
    /// Of a StatefulSet, whose revisions are kept as ReplicaSets: `status.currentRevision`.
    pub current_revision: Option<ReplicaSetId>,
    /// ReplicaSets ever created.
    pub revisions: u32,
    /// When it was created.
    pub created: Time,
    /// `metadata.generation`: grows with the spec.
    pub generation: u32,
    /// Annotation `deployment.kubernetes.io/revision`; 0: absent.
    pub revision: u32,
    /// `status`.
    pub status: DeploymentStatus,
    /// The object exists; one that an operator applies later does not yet.
    pub exists: bool,
}

/// Status of a Deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct DeploymentStatus {
    /// Pods of all ReplicaSets.
    pub replicas: i32,
    /// Pods of the newest template.
    pub updated: i32,
    /// Ready pods.
    pub ready: i32,
    /// Available pods.
    pub available: i32,
    /// Pods that the ReplicaSets' specs ask for beyond the available ones.
    pub unavailable: i32,
    /// The generation that this answers to.
    pub observed_generation: u32,
    /// Condition Available.
    pub availability: Option<DeploymentCondition>,
    /// Condition Progressing.
    pub progressing: Option<DeploymentCondition>,
    /// Condition ReplicaFailure (always True).
    pub replica_failure: Option<FailureReason>,
}

/// A condition of a Deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeploymentCondition {
    /// True or False; `None`: Unknown.
    pub status: Option<bool>,
    /// Why.
    pub reason: DeploymentReason,
    /// `lastUpdateTime`, whole seconds: what the progress deadline counts from.
    pub updated: Time,
}

impl DeploymentCondition {
    /// A condition as it is written now.
    pub const fn new(status: Option<bool>, reason: DeploymentReason, now: Time) -> DeploymentCondition {
        DeploymentCondition { status, reason, updated: now.whole_second() }
    }

    /// `Status/Reason`, as the API writes both.
    pub fn text(&self) -> String {
        let status = match self.status {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        format!("{status}/{}", self.reason.name())
    }
}

/// Reasons of a Deployment's conditions Available and Progressing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeploymentReason {
    /// Available: at most maxUnavailable pods are missing.
    MinimumReplicasAvailable,
    /// Available: more are.
    MinimumReplicasUnavailable,
    /// Progressing: a ReplicaSet was created.
    NewReplicaSetCreated,
    /// Progressing: the ReplicaSet of the template exists already.
    FoundNewReplicaSet,
    /// Progressing: pods were created, became ready or available, or old ones went.
    ReplicaSetUpdated,
    /// Progressing: the rollout is complete.
    NewReplicaSetAvailable,
    /// Progressing: nothing happened for progressDeadlineSeconds.
    ProgressDeadlineExceeded,
    /// Progressing: paused.
    DeploymentPaused,
    /// Progressing: no longer paused.
    DeploymentResumed,
}

impl DeploymentReason {
    /// As the API writes it.
    pub const fn name(self) -> &'static str {
        match self {
            DeploymentReason::MinimumReplicasAvailable => "MinimumReplicasAvailable",
            DeploymentReason::MinimumReplicasUnavailable => "MinimumReplicasUnavailable",
            DeploymentReason::NewReplicaSetCreated => "NewReplicaSetCreated",
            DeploymentReason::FoundNewReplicaSet => "FoundNewReplicaSet",
            DeploymentReason::ReplicaSetUpdated => "ReplicaSetUpdated",
            DeploymentReason::NewReplicaSetAvailable => "NewReplicaSetAvailable",
            DeploymentReason::ProgressDeadlineExceeded => "ProgressDeadlineExceeded",
            DeploymentReason::DeploymentPaused => "DeploymentPaused",
            DeploymentReason::DeploymentResumed => "DeploymentResumed",
        }
    }
}

/// Reasons of the condition ReplicaFailure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureReason {
    /// A pod could not be created.
    FailedCreate,
    /// A pod could not be deleted.
    FailedDelete,
}

impl FailureReason {
    /// As the API writes it.
    pub const fn name(self) -> &'static str {
        match self {
            FailureReason::FailedCreate => "FailedCreate",
            FailureReason::FailedDelete => "FailedDelete",
        }
    }
}

/// A ReplicaSet.
#[derive(Clone, Debug)]
pub struct ReplicaSet {
    /// Its id: order of creation.
    pub id: ReplicaSetId,
    /// Its Deployment; `None`: it stands alone.
    pub deployment: Option<DeploymentId>,
    /// Its number among the Deployment's, from 1.
    pub revision: u32,
    /// A name that was given to it; `None`: it has one of its owner's.
    pub given_name: Option<Arc<str>>,
    /// Its pods' spec.
    pub template: TemplateId,
    /// `spec.replicas`.
    pub replicas: i32,
    /// `spec.minReadySeconds`.
    pub min_ready: Span,
    /// When it was created.
    pub created: Time,
    /// When it was removed.
    pub gone: Option<Time>,
    /// `metadata.generation`: grows with the spec.
    pub generation: u32,
    /// Annotation `deployment.kubernetes.io/revision`; 0: absent.
    pub revision_annotation: u32,
    /// Annotation desired-replicas.
    pub desired_annotation: i32,
    /// Annotation max-replicas.
    pub max_annotation: i32,
    /// Pods whose objects exist, terminating ones included.
    pub pods: Vec<PodId>,
    /// Pods ever created.
    pub created_pods: u32,
    /// `status`: replicas, ready, available.
    pub status: ReplicaSetStatus,
}

/// Status of a ReplicaSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ReplicaSetStatus {
    /// Active pods.
    pub replicas: i32,
    /// Ready ones.
    pub ready: i32,
    /// Ready for at least minReadySeconds.
    pub available: i32,
    /// The generation that this answers to.
    pub observed_generation: u32,
    /// Condition ReplicaFailure.
    pub failure: Option<FailureReason>,
}

impl Deployment {
    /// A Deployment that its controller has not seen yet.
    pub(super) fn new(id: DeploymentId, spec: Arc<DeploymentSpec>, created: Time) -> Deployment {
        let replicas = spec.replicas;
        Deployment {
            id,
            spec,
            replicas,
            replica_sets: Vec::new(),
            current_revision: None,
            revisions: 0,
            created,
            generation: 1,
            revision: 0,
            status: DeploymentStatus::default(),
            exists: true,
        }
    }
}

impl World {
    /// An operator applies a Deployment of the plan that was not there yet.
    pub fn create_deployment(&mut self, deployment: DeploymentId) {
        let now = self.now;
        let entry = &mut self.deployments[deployment.index()];
        (entry.exists, entry.created, entry.replicas) = (true, now, entry.spec.replicas);
        self.push(Change::DeploymentChanged(deployment));
    }

    /// Writes a Deployment's `spec.replicas`.
    pub fn scale_deployment(&mut self, deployment: DeploymentId, to: i32, by: Option<HpaId>) {
        let entry = &mut self.deployments[deployment.index()];
        let from = std::mem::replace(&mut entry.replicas, to);
        if from != to {
            entry.generation += 1;
            self.push(Change::DeploymentScaled { deployment, from, to, by });
        }
    }

    /// Replaces a Deployment's spec; its size becomes the new spec's.
    pub fn update_deployment(&mut self, deployment: DeploymentId, spec: Arc<DeploymentSpec>) {
        let replicas = spec.replicas;
        let entry = &mut self.deployments[deployment.index()];
        entry.spec = spec;
        entry.generation += 1;
        self.push(Change::DeploymentChanged(deployment));
        self.scale_deployment(deployment, replicas, None);
    }

    /// Edits a Deployment's spec; nothing happens if that leaves it as it is. `replicas` are those of now.
    pub fn edit_deployment(&mut self, deployment: DeploymentId, edit: impl FnOnce(&mut DeploymentSpec)) {
        let entry = &self.deployments[deployment.index()];
        let before = DeploymentSpec { replicas: entry.replicas, ..(*entry.spec).clone() };
        let mut spec = before.clone();
        edit(&mut spec);
        // Two entries may hold one template: the API server compares what is written, not what it is called.
        if *self.template(spec.template) == *self.template(before.template) {
            spec.template = before.template;
        }
        if spec != before {
            self.update_deployment(deployment, Arc::new(spec));
        }
    }

    /// Gives a Deployment the template of one of its revisions, or of the last but one (`kubectl rollout undo`).
    ///
    /// # Errors
    /// Why kubectl refuses.
    pub fn roll_back_deployment(&mut self, deployment: DeploymentId, to: Option<u32>) -> Result<(), &'static str> {
        let entry = &self.deployments[deployment.index()];
        if entry.spec.paused {
            return Err("cannot rollback a paused deployment");
        }
        let sets = entry.replica_sets.iter().map(|set| &self.replica_sets[set.index()]);
        let mut revisions: Vec<(u32, TemplateId)> = sets.map(|set| (set.revision_annotation, set.template)).collect();
        revisions.sort_unstable_by_key(|revision| std::cmp::Reverse(revision.0));
        let found = match to {
            Some(wanted) => revisions.iter().find(|(revision, _)| *revision == wanted),
            None => revisions.get(1),
        };
        let &(_, template) = found.ok_or("no such revision in the rollout history")?;
        self.edit_deployment(deployment, |spec| spec.template = template);
        Ok(())
    }

    /// Writes a Deployment's status and its annotation `deployment.kubernetes.io/revision`.
    pub fn set_deployment_status(&mut self, deployment: DeploymentId, revision: u32, status: DeploymentStatus) {
        let entry = &mut self.deployments[deployment.index()];
        if (entry.revision, entry.status) != (revision, status) {
            entry.revision = revision;
            entry.status = status;
            let reason = status.progressing.map(|condition| condition.reason);
            self.push(Change::DeploymentStatus(deployment, reason));
        }
    }

    /// A StatefulSet's `status.currentRevision`.
    pub fn set_current_revision(&mut self, deployment: DeploymentId, revision: ReplicaSetId) {
        self.deployments[deployment.index()].current_revision = Some(revision);
    }

    /// The number in the name of a StatefulSet's pod.
    pub fn pod_ordinal(&self, pod: PodId) -> Option<u32> {
        self.pods[pod.index()].bare_name.as_deref()?.rsplit_once('-')?.1.parse().ok()
    }

    /// Who makes a pod, as kubectl writes it: `replicaset/web-r1`.
    pub fn owner_name(&self, pod: PodId) -> Option<String> {
        Some(match (self.pods[pod.index()].owner, self.stateful_set_of(pod)) {
            (Owner::ReplicaSet(_), Some(id)) => format!("statefulset/{}", self.deployments[id.index()].spec.name),
            (Owner::ReplicaSet(set), None) => format!("replicaset/{}", self.replica_set_name(set)),
            (Owner::DaemonSet(set), _) => format!("daemonset/{}", self.daemon_sets[set.index()].name),
            (Owner::Bare, _) => return None,
        })
    }

    /// The StatefulSet that a pod belongs to.
    pub fn stateful_set_of(&self, pod: PodId) -> Option<DeploymentId> {
        self.deployment_of(pod).filter(|id| self.deployments[id.index()].spec.ordinal().is_some())
    }

    /// Creates a ReplicaSet of a Deployment with the Deployment's present template.
    pub fn create_replica_set(&mut self, deployment: DeploymentId, replicas: i32) -> ReplicaSetId {
        let id = ReplicaSetId::at(self.replica_sets.len());
        let owner = &mut self.deployments[deployment.index()];
        owner.revisions += 1;
        owner.replica_sets.push(id);
        self.replica_sets.push(ReplicaSet {
            id,
            deployment: Some(deployment),
            revision: owner.revisions,
            given_name: None,
            template: owner.spec.template,
            replicas,
            min_ready: owner.spec.min_ready,
            created: self.now,
            gone: None,
            generation: 1,
            revision_annotation: 0,
            desired_annotation: 0,
            max_annotation: 0,
            pods: Vec::new(),
            created_pods: 0,
            status: ReplicaSetStatus::default(),
        });
        self.push(Change::ReplicaSetCreated(id));
        id
    }

    /// The annotations with which a ReplicaSet is created: revision, desired-replicas and max-replicas.
    pub fn annotate_replica_set(&mut self, replica_set: ReplicaSetId, revision: u32, desired: i32, most: i32) {
        let entry = &mut self.replica_sets[replica_set.index()];
        entry.revision_annotation = revision;
        entry.desired_annotation = desired;
        entry.max_annotation = most;
    }

    /// Writes a ReplicaSet's `spec.replicas`.
    pub fn scale_replica_set(&mut self, replica_set: ReplicaSetId, to: i32) {
        let entry = &mut self.replica_sets[replica_set.index()];
        let from = std::mem::replace(&mut entry.replicas, to);
        if from != to {
            entry.generation += 1;
            self.push(Change::ReplicaSetScaled { replica_set, from, to });
        }
    }

    /// Writes a ReplicaSet's `spec.replicas` and its annotations desired-replicas and max-replicas at once.
    pub fn resize_replica_set(&mut self, replica_set: ReplicaSetId, to: i32, desired: i32, most: i32) {
        let entry = &mut self.replica_sets[replica_set.index()];
        let annotated = (entry.desired_annotation, entry.max_annotation) == (desired, most);
        (entry.desired_annotation, entry.max_annotation) = (desired, most);
        if entry.replicas == to && !annotated {
            self.push(Change::ReplicaSetChanged(replica_set));
        }
        self.scale_replica_set(replica_set, to);
    }

    /// Writes a ReplicaSet's annotation `deployment.kubernetes.io/revision` and its `spec.minReadySeconds` at once.
    pub fn revise_replica_set(&mut self, replica_set: ReplicaSetId, revision: u32, min_ready: Span) {
        let entry = &mut self.replica_sets[replica_set.index()];
        if (entry.revision_annotation, entry.min_ready) != (revision, min_ready) {
            entry.generation += u32::from(entry.min_ready != min_ready);
            entry.revision_annotation = revision;
            entry.min_ready = min_ready;
            self.push(Change::ReplicaSetChanged(replica_set));
        }
    }

    /// Writes a ReplicaSet's status.
    pub fn set_replica_set_status(&mut self, replica_set: ReplicaSetId, status: ReplicaSetStatus) {
        if self.replica_sets[replica_set.index()].status != status {
            self.replica_sets[replica_set.index()].status = status;
            self.push(Change::ReplicaSetStatus(replica_set));
        }
    }

    /// Notes that the API server refused to create a pod of a ReplicaSet.
    pub fn note_refused_pod(&mut self, replica_set: ReplicaSetId) {
        self.push(Change::PodRefused(replica_set));
    }

    /// Notes that the API server failed to delete a pod.
    pub fn note_failed_deletion(&mut self, pod: PodId) {
        self.push(Change::PodDeletionFailed(pod));
    }

    /// Admission by a ResourceQuota: whether the namespace may have one more pod. Pods that have finished do not count,
    /// terminating ones do.
    pub fn quota_admits_pod(&self, namespace: &str) -> bool {
        let Some(&most) = self.pod_quotas.get(namespace) else { return true };
        let counts =
            |pod: &PodId| self.template_of(*pod).namespace == namespace && !self.pods[pod.index()].is_finished();
        self.living.iter().filter(counts).count() < most as usize
    }

    /// Removes a ReplicaSet without pods.
    pub fn remove_replica_set(&mut self, replica_set: ReplicaSetId) {
        let entry = &mut self.replica_sets[replica_set.index()];
        if entry.gone.is_some() {
            return;
        }
        entry.gone = Some(self.now);
        if let Some(deployment) = entry.deployment {
            self.deployments[deployment.index()].replica_sets.retain(|&other| other != replica_set);
        }
        self.push(Change::ReplicaSetGone(replica_set));
    }

    /// Name of a ReplicaSet.
    pub fn replica_set_name(&self, replica_set: ReplicaSetId) -> String {
        let mut name = String::new();
        self.push_replica_set_name(&mut name, replica_set);
        name
    }

    /// Writes the name of a ReplicaSet behind a text.
    pub(super) fn push_replica_set_name(&self, text: &mut String, replica_set: ReplicaSetId) {
        let entry = &self.replica_sets[replica_set.index()];
        match (entry.deployment, &entry.given_name) {
            (_, Some(name)) => text.push_str(name),
            (Some(deployment), None) => {
                text.push_str(&self.deployments[deployment.index()].spec.name);
                push_numbered(text, "-r", entry.revision);
            }
            (None, None) => push_numbered(text, "rs", entry.id.0 + 1),
        }
    }
}

/// Writes a number and what is before it behind a text. Names are made for each pod: general formatting would be most of
/// their cost.
pub(super) fn push_numbered(text: &mut String, before: &str, number: u32) {
    text.push_str(before);
    // Any such number has ten digits at most.
    let (mut digits, mut first, mut left) = ([0; 10], 10, number);
    while first == digits.len() || left > 0 {
        first -= 1;
        digits[first] = b'0' + (left % 10) as u8;
        left /= 10;
    }
    text.extend(digits[first..].iter().map(|&digit| char::from(digit)));
}
