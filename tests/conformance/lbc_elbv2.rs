//! The scripted load balancer of `lbc.trace`: target groups whose targets follow plans of health.

use crate::stage::{ORIGIN, at, items, text};
use kubelapse::components::aws::target_group::outside::{Action, Answer, AwsError, Call};
use kubelapse::components::aws::target_group::targets::{Health, Known, Target};
use kubelapse::engine::{Span, Time};
use serde_json::Value;
use std::collections::BTreeMap;

/// Of one target.
#[derive(Clone)]
struct Registered {
    since: Time,
    /// When it is forgotten.
    draining_until: Option<Time>,
    /// A plan that replaced the group's, counted from `since`.
    plan: Option<Value>,
}

/// A target group.
struct Group {
    input: Value,
    gone: bool,
    targets: BTreeMap<String, Registered>,
}

/// The load balancer.
pub struct Elbv2 {
    input: Value,
    groups: BTreeMap<String, Group>,
}

impl Elbv2 {
    /// As a case describes it.
    pub fn new(input: &Value) -> Elbv2 {
        let mut groups = BTreeMap::new();
        for (name, group) in input["targetGroups"].as_object().into_iter().flatten() {
            let registered = Registered { since: at(-86_400.0), draining_until: None, plan: None };
            let targets = items(&group["targets"]).iter().map(|target| (text(target).to_string(), registered.clone()));
            let group = Group { input: group.clone(), gone: false, targets: targets.collect() };
            groups.insert(name.clone(), group);
        }
        Elbv2 { input: input.clone(), groups }
    }

    /// How long a call takes that starts now, and the error that it will meet.
    pub fn begin(&self, now: Time, call: &Call) -> (Span, Option<AwsError>) {
        let name = action_name(&call.action);
        let seconds = now.seconds_from(ORIGIN);
        let applies = |entry: &&Value| {
            entry["call"] == name
                && entry["from"].as_f64().unwrap_or(0.0) <= seconds
                && seconds < entry["until"].as_f64().unwrap_or(f64::INFINITY)
        };
        let usual = self.input["latency"][name].as_f64().unwrap_or(0.0);
        let other = items(&self.input["latencies"]).iter().rfind(applies);
        let latency = other.and_then(|entry| entry["seconds"].as_f64()).unwrap_or(usual);
        let error = items(&self.input["errors"]).iter().find(applies);
        let error = error.map(|entry| failure(text(&entry["code"]), text(&entry["text"])));
        (Span::from_seconds(latency), error)
    }

    /// A call takes effect.
    pub fn end(&mut self, now: Time, call: &Call) -> Answer {
        let gone = failure("TargetGroupNotFound", "One or more target groups not found");
        let group = self.groups.get_mut(&*call.group).filter(|group| !group.gone).ok_or(gone)?;
        group.targets.retain(|_, target| target.draining_until.is_none_or(|until| now < until));
        match &call.action {
            Action::Describe(None) => {
                let keys: Vec<String> = group.targets.keys().cloned().collect();
                Ok(keys.iter().map(|key| group.describe(key, now)).collect())
            }
            Action::Describe(Some(targets)) => {
                let mut keys: Vec<String> = targets.iter().map(Target::key).collect();
                keys.sort();
                Ok(keys.iter().map(|key| group.describe(key, now)).collect())
            }
            Action::Register(targets) => {
                let keys: Vec<String> = targets.iter().map(|target| target.target.key()).collect();
                group.register(now, &keys)
            }
            Action::Deregister(targets) => {
                targets.iter().for_each(|target| group.deregister(now, &target.key()));
                Ok(Vec::new())
            }
        }
    }

    /// Somebody else changes a target group.
    pub fn change(&mut self, now: Time, step: &Value) {
        let Some(group) = self.groups.get_mut(text(&step["targetGroup"])) else { return };
        group.gone |= step["gone"] == true;
        group.targets.retain(|_, target| target.draining_until.is_none_or(|until| now < until));
        let keys: Vec<String> = items(&step["register"]).iter().map(|key| text(key).to_string()).collect();
        group.register(now, &keys).ok();
        items(&step["deregister"]).iter().for_each(|key| group.deregister(now, text(key)));
        for (key, plan) in step["health"].as_object().into_iter().flatten() {
            if let Some(target) = group.targets.get_mut(key) {
                target.since = now;
                target.plan = Some(plan.clone());
            }
        }
    }
}

impl Group {
    fn describe(&self, key: &str, now: Time) -> Known {
        let (id, port) = key.rsplit_once(':').expect("a target has a port");
        let target = Target { id: id.into(), port: port.parse().expect("a port is a number") };
        let health = match self.targets.get(key) {
            None => health("unused", "Target.NotRegistered", "Target is not registered to the target group"),
            Some(Registered { draining_until: Some(_), .. }) => {
                let text = "Target deregistration is in progress";
                health("draining", "Target.DeregistrationInProgress", text)
            }
            Some(registered) => {
                let own = &self.input["plans"][key];
                let plan = registered.plan.as_ref().or((!own.is_null()).then_some(own)).unwrap_or(&self.input["plan"]);
                let passed = now.since(registered.since).seconds();
                let mut phases =
                    items(plan).iter().filter(|phase| phase["after"].as_f64().unwrap_or(0.0) <= passed + 1e-9);
                let phase = phases.next_back().unwrap_or(&Value::Null);
                health(text(&phase["state"]), text(&phase["reason"]), text(&phase["text"]))
            }
        };
        Known { target, health: Some(health.into()) }
    }

    fn register(&mut self, now: Time, keys: &[String]) -> Answer {
        let draining = |key: &&String| self.targets.get(*key).is_some_and(|target| target.draining_until.is_some());
        let rule = text(&self.input["registerDraining"]);
        if rule == "error" && keys.iter().any(|key| draining(&key)) {
            return Err(failure("InvalidTarget", "a target is draining"));
        }
        let anew: Vec<&String> =
            keys.iter().filter(|key| !self.targets.contains_key(*key) || (draining(key) && rule != "ignore")).collect();
        for key in anew {
            self.targets.insert(key.clone(), Registered { since: now, draining_until: None, plan: None });
        }
        Ok(Vec::new())
    }

    fn deregister(&mut self, now: Time, key: &str) {
        let delay = Span::from_seconds(self.input["deregistrationDelay"].as_f64().unwrap_or(0.0));
        if let Some(target) = self.targets.get_mut(key) {
            target.draining_until.get_or_insert(now + delay);
        }
        if delay.is_zero() {
            self.targets.remove(key);
        }
    }
}

/// As recordings name a call.
pub fn action_name(action: &Action) -> &'static str {
    match action {
        Action::Describe(_) => "describe",
        Action::Register(_) => "register",
        Action::Deregister(_) => "deregister",
    }
}

fn failure(code: &str, text: &str) -> AwsError {
    AwsError { code: code.into(), text: text.into() }
}

fn health(state: &str, reason: &str, text: &str) -> Health {
    Health { state: state.into(), reason: reason.into(), text: text.into() }
}
