//! Single requests through a service of ten workers on ten cores, work exponential, load 0.8: requests a second of one core,
//! and beside it the bare loop of the same queue on the standard heap with the same draws.
//!
//! Not criterion: each line is one run of millions of requests, and peak memory is a property of a process; it stays the
//! same from a million to twenty. Prints one line a measurement; `cargo bench --bench requests`.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use kubelapse::engine::{Purpose, Random};
use kubelapse::plan::Plan;
use kubelapse::scenario::{self, LoadOptions};
use kubelapse::study::run_once;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs;
use std::time::Instant;

const MANIFEST: &str = "apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 1
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec: { containers: [ { name: web, image: web, resources: { requests: { cpu: 10, memory: 1Gi }, limits: { cpu: 10 } } } ] }
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { selector: { app: web }, ports: [ { port: 80 } ] }
";

/// Eight thousand requests a second of a millisecond each, for so many seconds.
fn plan(seconds: u64) -> Plan {
    let folder = std::env::temp_dir().join(format!("kubelapse-requests-{}", std::process::id()));
    let scenarios = folder.join("scenarios");
    fs::create_dir_all(&scenarios).expect("a temporary folder");
    fs::write(scenarios.join("web.yaml"), MANIFEST).expect("the manifest is written");
    let path = scenarios.join("requests.yaml");
    let text = format!(
        "manifests: [web.yaml]
cluster: {{ nodes: [ {{ instance_type: m5.4xlarge }} ] }}
services: {{ web: {{ cpu_per_request: exponential(mean=1ms), workers: 10, queue: 10000000 }} }}
traffic: {{ web: 8000/s }}
run: {{ until: {seconds}s, noise: on }}
"
    );
    fs::write(&path, text).expect("the scenario is written");
    let plan = match scenario::load(&path, &LoadOptions::default()) {
        Ok(mut loaded) => {
            loaded.plan.limits.events_max = u64::MAX;
            loaded.plan
        }
        Err(problems) => panic!("{}", problems.render(false)),
    };
    fs::remove_dir_all(&folder).expect("the temporary folder goes");
    plan
}

/// The same queue with nothing around it: requests served and their mean time in seconds.
fn bare(until: u64) -> (u64, f64) {
    const ARRIVAL: Purpose = Purpose::named("bench.arrival");
    const WORK: Purpose = Purpose::named("bench.work");
    let random = Random::new(1, 0);
    let drawn = |purpose, number, mean: f64| (-(-random.uniform(purpose, number)).ln_1p() * mean).round() as u64;
    let mut heap: BinaryHeap<Reverse<(u64, u64)>> = BinaryHeap::new();
    let mut waiting = std::collections::VecDeque::new();
    let (mut number, mut busy, mut served, mut time) = (0, 0, 0, 0u64);
    heap.push(Reverse((0, 0)));
    while let Some(Reverse((now, arrived))) = heap.pop().filter(|Reverse((now, _))| *now <= until * 1_000_000) {
        // An arrival is an event that is not yet somebody's departure.
        if arrived == 0 {
            number += 1;
            heap.push(Reverse((now + drawn(ARRIVAL, number, 125.0), 0)));
            if busy == 10 {
                waiting.push_back((now + 1, number));
            } else {
                busy += 1;
                heap.push(Reverse((now + drawn(WORK, number, 1000.0), now + 1)));
            }
        } else {
            served += 1;
            time += now + 1 - arrived;
            match waiting.pop_front() {
                Some((since, number)) => heap.push(Reverse((now + drawn(WORK, number, 1000.0), since))),
                None => busy -= 1,
            }
        }
    }
    (served, time as f64 / 1e6 / served as f64)
}

/// CPU time of this process, which other work on the machine does not touch; where it is not to be had, time.
struct Clock(Instant, Option<f64>);

impl Clock {
    fn start() -> Clock {
        Clock(Instant::now(), Clock::used())
    }

    /// User time in ticks of 10 ms, the 14th field; the second, the name, may hold blanks and ends with a parenthesis.
    fn used() -> Option<f64> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        let ticks: f64 = text.rsplit_once(')')?.1.split_whitespace().nth(11)?.parse().ok()?;
        Some(ticks / 100.0)
    }

    fn seconds(&self) -> f64 {
        let used = Clock::used().zip(self.1).map(|(now, then)| now - then);
        used.unwrap_or_else(|| self.0.elapsed().as_secs_f64())
    }
}

/// Peak memory of this process so far; Linux only.
fn peak() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(|| "peak memory unknown".to_string(), |line| format!("peak {}", line.trim()))
}

fn main() {
    // A millisecond in the whole system is 1.20459 of them on average: oracle 10.
    for seconds in [125, 2500] {
        let plan = plan(seconds);
        let start = Clock::start();
        let outcome = run_once(&plan, 0, false);
        let took = start.seconds();
        let total = &outcome.world.ledgers[0].total;
        let served = total.served as f64 / 1e6;
        let mean = total.mean_latency().unwrap_or_default();
        println!("service: {:.2} million a second, {served} requests, mean {mean}, {}", served / took / 1e6, peak());
    }
    let start = Clock::start();
    let (served, mean) = bare(2500);
    let took = start.seconds();
    println!(
        "bare heap: {:.2} million a second, {served} requests, mean {:.3}ms",
        served as f64 / took / 1e6,
        mean * 1e3
    );
}
