//! Laws that hold at every instant of every run. [`World::check`] says which one does not.

use super::{InstanceState, World};
use crate::rules::resources::Resources;

impl World {
    /// The O(1) laws: counters agree.
    ///
    /// # Errors
    /// The law that is broken, in words.
    pub fn check_fast(&self) -> Result<(), String> {
        if self.counts.pods_created != self.pods.len() as u64 {
            return Err(format!("{} pods were created but {} exist", self.counts.pods_created, self.pods.len()));
        }
        if self.bill.rate() < 0 {
            return Err(format!("the running instances cost {} an hour", self.bill.rate()));
        }
        if self.counts.pods_gone > self.counts.pods_created {
            return Err("more pods have gone than were created".to_string());
        }
        for (index, ledger) in self.ledgers.iter().enumerate() {
            let total = &ledger.total;
            if total.offered != total.served + total.lost_all() + ledger.in_flight {
                return Err(format!(
                    "application {index}: offered {} is not served {} + lost {} + in flight {}",
                    total.offered,
                    total.served,
                    total.lost_all(),
                    ledger.in_flight
                ));
            }
        }
        Ok(())
    }

    /// All laws, O(n).
    ///
    /// # Errors
    /// The first law that is broken, in words.
    pub fn check(&self) -> Result<(), String> {
        self.check_fast()?;
        self.check_pods()?;
        self.check_nodes()?;
        self.check_census()?;
        self.check_headcounts()?;
        self.check_requests()?;
        for ledger in &self.ledgers {
            let mut sum = super::Tally::default();
            ledger.bins.iter().for_each(|bin| sum += bin);
            if sum != ledger.total {
                return Err("the bins of a ledger do not add up to its total".to_string());
            }
            if super::Loss::ALL.into_iter().any(|loss| ledger.losses.lost(loss) != ledger.total.lost[loss as usize]) {
                return Err("the places of losses do not add up to the losses of their causes".to_string());
            }
        }
        self.check_instances()
    }

    /// Instances end in order, and the meter has counted what their own times say.
    fn check_instances(&self) -> Result<(), String> {
        let mut paid = 0;
        for instance in &self.instances {
            let stopped = instance.state != InstanceState::Running;
            if stopped != instance.stopped.is_some()
                || instance.terminated.is_some_and(|at| Some(at) < instance.stopped)
            {
                return Err(format!(
                    "instance {} is {:?} but stopped {:?}",
                    instance.id.0, instance.state, instance.stopped
                ));
            }
            let until = instance.stopped.unwrap_or(self.now);
            paid += instance.paid_until(until);
        }
        if paid != self.bill.until(self.now) {
            return Err(format!("instances cost {paid} by their times but {} by the meter", self.bill.until(self.now)));
        }
        Ok(())
    }

    fn check_pods(&self) -> Result<(), String> {
        let gone = self.pods.iter().filter(|pod| pod.gone.is_some()).count() as u64;
        if gone != self.counts.pods_gone {
            return Err(format!("{gone} pods are gone but {} were counted", self.counts.pods_gone));
        }
        for pod in &self.pods {
            let name = || self.pod_name(pod.id);
            if pod.is_ready() && pod.node.is_none() {
                return Err(format!("pod {} is Ready but not bound", name()));
            }
            if self.unschedulable.contains(pod.id) != (pod.unschedulable && pod.gone.is_none()) {
                return Err(format!("pod {} is not listed as its condition says", name()));
            }
            if self.measured.contains(pod.id) != self.metrics_of(pod.id).is_some() {
                return Err(format!("pod {} is not listed with its metrics", name()));
            }
            if pod.bound.is_some() != pod.node.is_some() {
                return Err(format!("pod {} is bound without a node, or the other way round", name()));
            }
            let listed = pod.node.is_some_and(|node| self.nodes[node.index()].pods.contains(&pod.id));
            if listed != (pod.node.is_some() && pod.gone.is_none()) {
                return Err(format!("pod {} and its node disagree", name()));
            }
        }
        Ok(())
    }

    fn check_nodes(&self) -> Result<(), String> {
        for node in &self.nodes {
            let mut sum = Resources::default();
            for &pod in node.pods.iter().filter(|pod| !node.released.contains(pod)) {
                sum += &self.template_of(pod).requests;
            }
            sum.extended.retain(|_, amount| *amount != 0);
            let mut requested = node.requested.clone();
            requested.extended.retain(|_, amount| *amount != 0);
            if sum != requested {
                return Err(format!("node {}: requests {requested:?} are not the sum of its pods {sum:?}", node.name));
            }
            if node.gone.is_none() && !requested.fits_in(&node.allocatable) {
                return Err(format!("node {} holds {requested:?}, more than {:?}", node.name, node.allocatable));
            }
        }
        Ok(())
    }
}
