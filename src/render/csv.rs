//! The tables of a run. The first line of each is a comment that says which run it is of.

use super::Finished;
use super::describe::describe;
use crate::analysis::steps::load_at;
use crate::analysis::{exported, totals};
use crate::engine::{Span, Time};
use crate::plan::{AlbMetric, DeploymentId, TargetGroupId};
use crate::world::{Change, Loss, Owner, TargetState};

/// All tables: names and contents.
pub fn files(finished: &Finished) -> Vec<(String, Vec<u8>)> {
    let tables: [(&str, Fill); 7] = [
        ("events.csv", events),
        ("phases.csv", phases),
        ("pods.csv", pods),
        ("nodes.csv", nodes),
        ("targets.csv", targets),
        ("requests.csv", requests),
        ("series.csv", series),
    ];
    let render = |(name, fill): (&str, Fill)| {
        let mut table = Table::new(finished);
        fill(finished, &mut table);
        (name.to_string(), table.bytes())
    };
    tables.into_iter().map(render).collect()
}

/// Writes the rows of a table.
type Fill = fn(&Finished, &mut Table);

/// A table in memory; writing to memory cannot fail.
struct Table(csv::Writer<Vec<u8>>);

impl Table {
    fn new(finished: &Finished) -> Table {
        Table(csv::Writer::from_writer(format!("# {}\n", finished.provenance()).into_bytes()))
    }

    fn row(&mut self, cells: impl IntoIterator<Item = impl AsRef<[u8]>>) {
        self.0.write_record(cells).expect("rows of a table have one length and memory takes them");
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().expect("memory takes all rows")
    }
}

fn at(finished: &Finished, at: Time) -> String {
    at.decimal_from(finished.plan.start)
}

fn maybe(finished: &Finished, time: Option<Time>) -> String {
    time.map(|time| at(finished, time)).unwrap_or_default()
}

fn amount(micro_requests: u64) -> String {
    Span::from_micros(micro_requests).decimal()
}

fn events(finished: &Finished, table: &mut Table) {
    table.row(["time_s", "component", "object", "what", "from", "to", "reason"]);
    let mut syncs = finished.recorder.hpa_syncs.iter();
    for fact in &finished.recorder.facts {
        let mut row = describe(fact.change, finished.world);
        match fact.change {
            Change::HpaSynced(_) => {
                if let Some((_, _, status)) = syncs.next() {
                    row.from = status.current.to_string();
                    row.to = status.desired.to_string();
                    row.reason = status.utilization.map(|percent| format!("cpu {percent}%")).unwrap_or_default();
                }
            }
            Change::AlarmChanged(alarm, _) => {
                row.object = format!("alarm/{}", finished.plan.alarms[alarm.index()].name);
            }
            Change::ActionDone(action) => {
                if let Some(short) = finished.recorder.shortfall_of(action) {
                    row.what = if short.in_vain { "in vain" } else { "carried out in part" };
                    row.reason.clone_from(&short.why);
                }
            }
            Change::FaultChanged(fault, _) => row.reason = finished.plan.faults[fault.index()].words(finished.plan),
            Change::TargetStateChanged(target, TargetState::Unhealthy) => {
                let reason = finished.world.targets[target.index()].reason_at(fact.at);
                row.reason = format!("{} {}", reason.name(), row.reason);
            }
            _ => {}
        }
        let time = at(finished, fact.at);
        table.row([&time, row.component, &row.object, row.what, &row.from, &row.to, &row.reason]);
    }
}

fn phases(finished: &Finished, table: &mut Table) {
    table.row(["step", "pod", "phase", "start_s", "end_s", "critical"]);
    for step in &finished.analysis.steps {
        for (index, entry) in step.pods.iter().enumerate() {
            let name = finished.world.pod_name(entry.pod);
            let critical = (step.critical == Some(index)).to_string();
            for span in entry.phases.iter().filter(|span| !span.length().is_zero()) {
                let number = step.number.to_string();
                let (start, end) = (at(finished, span.start), at(finished, span.end));
                table.row([&number, &name, span.phase.name(), &start, &end, &critical]);
            }
        }
    }
}

fn pods(finished: &Finished, table: &mut Table) {
    table.row([
        "pod",
        "deployment",
        "node",
        "step",
        "created_s",
        "unschedulable_s",
        "bound_s",
        "address_s",
        "pulled_s",
        "started_s",
        "answering_s",
        "ready_s",
        "endpoint_s",
        "registered_s",
        "healthy_s",
        "in_service_s",
        "deleting_s",
        "cause",
        "deregistered_s",
        "target_gone_s",
        "stopped_s",
        "gone_s",
    ]);
    let world = finished.world;
    let mut step_of: Vec<Option<u32>> = vec![None; world.pods.len()];
    for step in &finished.analysis.steps {
        step.pods.iter().for_each(|entry| step_of[entry.pod.index()] = Some(step.number));
    }
    for pod in &finished.analysis.history.pods {
        let entry = world.pod(pod.id);
        let owner = match entry.owner {
            Owner::ReplicaSet(_) => pod.deployment.map(|id| world.deployments[id.index()].spec.name.clone()),
            Owner::DaemonSet(id) => Some(world.daemon_sets[id.index()].name.clone()),
            Owner::Bare => None,
        };
        let step = step_of[pod.id.index()].map(|step| step.to_string());
        let time = |milestone| maybe(finished, milestone);
        table.row([
            world.pod_name(pod.id),
            owner.unwrap_or_default(),
            entry.node.map(|node| world.node(node).name.to_string()).unwrap_or_default(),
            step.unwrap_or_default(),
            at(finished, pod.created),
            time(pod.unschedulable),
            time(pod.bound),
            time(pod.address),
            time(pod.pulled),
            time(pod.started),
            time(pod.answering),
            time(pod.ready),
            time(pod.endpoint),
            time(pod.registered),
            time(pod.healthy),
            time(pod.serving),
            time(pod.deleting),
            pod.cause.map(|cause| cause.name().to_string()).unwrap_or_default(),
            time(pod.deregistered),
            time(pod.target_gone),
            time(pod.stopped),
            time(pod.gone),
        ]);
    }
}

fn nodes(finished: &Finished, table: &mut Table) {
    table.row([
        "node",
        "claim",
        "node_pool",
        "instance_type",
        "capacity_type",
        "zone",
        "claimed_s",
        "launched_s",
        "created_s",
        "registered_s",
        "ready_s",
        "initialized_s",
        "interrupted_s",
        "disrupted_s",
        "emptied_s",
        "deleting_s",
        "reason",
        "drained_s",
        "stopped_s",
        "terminated_s",
        "gone_s",
        "paid_s",
        "dollars",
    ]);
    let (plan, world) = (finished.plan, finished.world);
    for node in &finished.analysis.history.nodes {
        let claim = node.claim.map(|claim| world.claim(claim));
        let instance = node.instance.map(|instance| &world.instances[instance.index()]);
        let reason = node.reason.or(node.disrupted.map(|(_, reason)| reason));
        let time = |milestone| maybe(finished, milestone);
        let dollars = instance.map(|instance| totals::cost(plan, instance).0.unsigned_abs());
        table.row([
            node.name.clone(),
            claim.map(|claim| claim.name.to_string()).unwrap_or_default(),
            claim.map(|claim| world.node_pools[claim.pool.index()].name.clone()).unwrap_or_default(),
            instance.map(|instance| plan.instance_type(instance.instance_type).name.clone()).unwrap_or_default(),
            instance.map(|instance| instance.capacity_type.name().to_string()).unwrap_or_default(),
            instance.and_then(|instance| plan.zones.get(instance.zone.index()).cloned()).unwrap_or_default(),
            time(node.claimed),
            time(node.launched),
            time(node.created),
            time(node.registered),
            time(node.ready),
            time(node.initialized),
            time(node.interrupted),
            time(node.disrupted.map(|(at, _)| at)),
            time(node.emptied),
            time(node.deleting),
            reason.map(|reason| reason.name().to_string()).unwrap_or_default(),
            time(node.drained),
            time(node.stopped),
            time(node.terminated),
            time(node.gone),
            instance.map(|instance| totals::paid(plan, instance).decimal()).unwrap_or_default(),
            dollars.map(amount).unwrap_or_default(),
        ]);
    }
}

fn targets(finished: &Finished, table: &mut Table) {
    table.row([
        "target_group",
        "address",
        "port",
        "pod",
        "state_at_the_end",
        "reason",
        "registered_s",
        "healthy_since_s",
        "in_service_s",
        "deregistered_s",
        "gone_s",
    ]);
    for target in &finished.world.targets {
        let time = |milestone| maybe(finished, milestone);
        let state = if target.gone.is_some() { "gone" } else { target.state.name() };
        table.row([
            finished.plan.target_groups[target.group.index()].name.as_str(),
            &target.address.to_string(),
            &target.port.to_string(),
            &finished.world.pod_name(target.pod),
            state,
            target.reason.name(),
            &at(finished, target.registered),
            &time(target.healthy_since),
            &time(target.in_service),
            &time(target.deregistered),
            &time(target.gone),
        ]);
    }
}

fn requests(finished: &Finished, table: &mut Table) {
    let mut header = ["second", "app", "offered", "served", "slow"].map(str::to_string).to_vec();
    header.extend(Loss::possible(finished.plan).map(|loss| format!("lost_{}", loss.name().replace(' ', "_"))));
    header.push("mean_latency_s".to_string());
    table.row(&header);
    for (app, ledger) in finished.plan.apps.iter().zip(&finished.world.ledgers) {
        for (second, tally) in ledger.bins.iter().enumerate() {
            let mut row = vec![second.to_string(), app.name.clone()];
            row.extend([tally.offered, tally.served, tally.slow].map(amount));
            row.extend(Loss::possible(finished.plan).map(|loss| amount(tally.lost[loss as usize])));
            row.push(tally.mean_latency().map(Span::decimal).unwrap_or_default());
            table.row(&row);
        }
    }
}

/// How long the series keep silent when nothing changes.
const SILENCE_SECONDS: u64 = 5;

fn series(finished: &Finished, table: &mut Table) {
    let plan = finished.plan;
    let mut header = vec!["second".to_string()];
    for deployment in &plan.deployments {
        let columns = ["desired", "existing", "ready", "in_service", "capacity", "load", "cpu_percent"];
        header.extend(columns.map(|column| format!("{}_{column}", deployment.name)));
    }
    header.extend(["launching", "not_ready", "ready", "terminating"].map(|state| format!("nodes_{state}")));
    for group in &plan.target_groups {
        header.extend(AlbMetric::ALL.map(|metric| format!("{}_{}", group.name, metric.name())));
    }
    exported(finished, plan.until, |name, labels, _| {
        header.push(labels.iter().fold(name.to_string(), |name, (_, value)| format!("{name}:{value}")));
    });
    table.row(&header);
    let mut datapoints = (None, Vec::new());
    let samples = &finished.analysis.series.samples;
    let syncs = &finished.recorder.hpa_syncs;
    let (mut next_sample, mut next_sync) = (0, 0);
    let mut seen: Vec<Option<i32>> = vec![None; plan.deployments.len()];
    for second in 0..=(plan.until - plan.start).whole_seconds() {
        let now = plan.start + Span::from_secs(second);
        let mut changed = second % SILENCE_SECONDS == 0;
        while samples.get(next_sample).is_some_and(|sample| sample.at <= now) {
            next_sample += 1;
            changed = true;
        }
        while let Some(&(_, hpa, status)) = syncs.get(next_sync).filter(|&&(at, _, _)| at <= now) {
            if let Some(deployment) = finished.world.hpas[hpa.index()].target {
                changed |= seen[deployment.index()] != status.utilization;
                seen[deployment.index()] = status.utilization;
            }
            next_sync += 1;
        }
        if changed {
            let mut row = vec![second.to_string()];
            series_row(finished, now, next_sample.saturating_sub(1), &seen, &mut row);
            let minute = exported::visible_minute(plan, now);
            if datapoints.0 != minute {
                datapoints = (minute, cloudwatch(finished, now));
            }
            datapoints.1.resize(plan.target_groups.len() * AlbMetric::ALL.len(), String::new());
            row.extend(datapoints.1.iter().cloned());
            exported(finished, now, |_, _, value| row.push(value.map(decimal).unwrap_or_default()));
            table.row(&row);
        }
    }
}

fn series_row(finished: &Finished, now: Time, sample: usize, seen: &[Option<i32>], row: &mut Vec<String>) {
    let sample = &finished.analysis.series.samples[sample];
    for (index, replicas) in sample.replicas.iter().enumerate() {
        let app = finished.plan.app_of(DeploymentId::at(index));
        let load = app.map(|app| load_at(finished.plan, app, now));
        let whole = [replicas.desired, replicas.existing, replicas.ready, replicas.in_service];
        row.extend(whole.map(|number| number.to_string()));
        row.push(rate(replicas.capacity));
        row.push(load.map(rate).unwrap_or_default());
        row.push(seen[index].map(|percent| percent.to_string()).unwrap_or_default());
    }
    let nodes = sample.nodes;
    row.extend([nodes.launching, nodes.not_ready, nodes.ready, nodes.terminating].map(|number| number.to_string()));
}

/// What CloudWatch shows of all target groups.
fn cloudwatch(finished: &Finished, now: Time) -> Vec<String> {
    let groups = (0..finished.plan.target_groups.len()).map(TargetGroupId::at);
    let values = groups.flat_map(|group| AlbMetric::ALL.map(|metric| (group, metric)));
    values
        .map(|(group, metric)| exported::visible(finished.plan, finished.world, group, metric, now))
        .map(|value| value.map(decimal).unwrap_or_default())
        .collect()
}

/// The metrics that the scenario asks for, each with its labels; a summary is its quantiles.
fn exported(finished: &Finished, now: Time, mut tell: impl FnMut(&str, &[(&'static str, String)], Option<f64>)) {
    let Finished { plan, world, recorder, analysis, .. } = *finished;
    for metric in &plan.metrics {
        let moment = exported::Moment { plan, world, recorder, analysis, at: now };
        for exported::Point { mut labels, value } in exported::points(metric, moment) {
            // Within a namespace a name says which it is.
            labels.retain(|(key, _)| *key != "namespace");
            match value {
                exported::Value::Number(value) => tell(metric.name, &labels, Some(value)),
                exported::Value::Durations(seconds) => {
                    for share in exported::QUANTILES {
                        let labels = [&labels[..], &[("quantile", share.to_string())]].concat();
                        tell(metric.name, &labels, exported::quantile(&seconds, share));
                    }
                }
            }
        }
    }
}

/// At most three decimals.
fn rate(value: f64) -> String {
    trimmed(&format!("{value:.3}"))
}

/// At most six decimals.
pub(super) fn decimal(value: f64) -> String {
    trimmed(&format!("{value:.6}"))
}

fn trimmed(text: &str) -> String {
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::played;
    use crate::plan::{Action, ActionId, ActionKind, DeploymentId};
    use crate::record::Shortfall;

    fn tables() -> Vec<(String, String)> {
        tables_of(&played::run())
    }

    fn tables_of(run: &played::Run) -> Vec<(String, String)> {
        let analysis = run.analysis();
        let finished = Finished {
            plan: &run.plan,
            world: &run.world,
            recorder: &run.recorder,
            analysis: &analysis,
            events: 0,
            event_hash: 0,
            limit: None,
        };
        files(&finished).into_iter().map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap())).collect()
    }

    fn rows(text: &str) -> Vec<Vec<String>> {
        let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).has_headers(false).from_reader(text.as_bytes());
        reader.records().map(|record| record.unwrap().iter().map(str::to_string).collect()).collect()
    }

    #[test]
    fn each_table_says_which_run_it_is_of_and_has_even_rows() {
        for (name, text) in tables() {
            assert!(text.starts_with("# kubelapse "), "{name}");
            assert!(rows(&text).len() > 1, "{name} is empty");
        }
    }

    #[test]
    fn every_fact_is_one_row_in_words() {
        let run = played::run();
        let (_, text) = tables().into_iter().find(|(name, _)| name == "events.csv").unwrap();
        let rows = rows(&text);
        assert_eq!(rows.len() - 1, run.recorder.facts.len());
        assert!(rows.iter().all(|row| row[1] != "kubelapse"), "a change was sent to the wrong function");
        let scaled = rows.iter().find(|row| row[3] == "scaled" && row[5] == "4").unwrap();
        assert_eq!(scaled[..], ["352.5", "hpa", "deployment/wordpress", "scaled", "2", "4", "hpa/wordpress"]);
        assert!(rows.iter().any(|row| row[2] == "alarm/UnhealthyHosts" && row[5] == "ALARM"));
    }

    #[test]
    fn an_action_that_found_nothing_was_not_carried_out() {
        let mut run = played::run();
        let (at, why) = (run.plan.start, "there is no node web-99 then".to_string());
        for (number, in_vain) in [None, Some(true), Some(false)].into_iter().enumerate() {
            let (action, kind) = (ActionId::at(number), ActionKind::RollBack(DeploymentId(0), None));
            run.plan.actions.push(Action { at, kind });
            run.recorder.push(at, Change::ActionDone(action), &run.world);
            if let Some(in_vain) = in_vain {
                run.recorder.shortfalls.push(Shortfall { at, action, in_vain, why: why.clone() });
            }
        }
        let (_, text) = tables_of(&run).into_iter().find(|(name, _)| name == "events.csv").unwrap();
        let done: Vec<[String; 2]> = (rows(&text).into_iter().filter(|row| row[2].starts_with("action/")))
            .map(|row| [row[3].clone(), row[6].clone()])
            .collect();
        assert_eq!(done, [["carried out", ""], ["in vain", &why], ["carried out in part", &why]]);
    }

    #[test]
    fn phases_of_a_pod_in_the_table_join_without_gaps() {
        let (_, text) = tables().into_iter().find(|(name, _)| name == "phases.csv").unwrap();
        let rows = rows(&text);
        for pair in rows[1..].windows(2).filter(|pair| pair[0][1] == pair[1][1]) {
            assert_eq!(pair[0][4], pair[1][3]);
        }
    }
}
