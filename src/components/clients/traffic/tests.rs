//! Arrivals and routing, alone.

use super::choice::{by_weight, smooth};
use super::*;

fn route(pod: u32, weight: f64) -> Route {
    Route { pod: PodId(pod), target: Some(TargetId(pod)), node: None, zone: None, weight, credit: 0.0 }
}

#[test]
fn smooth_round_robin_gives_each_its_weight_in_every_cycle() {
    let mut routes = [route(0, 3.0), route(1, 1.0), route(2, 2.0)];
    let mut served = [0; 3];
    for _ in 0..60 {
        served[smooth(&mut routes, 0)] += 1;
    }
    assert_eq!(served, [30, 10, 20]);
}

#[test]
fn a_weighted_choice_follows_the_cumulated_weights() {
    let routes = [route(0, 1.0), route(1, 3.0)];
    assert_eq!([0.0, 0.24, 0.26, 0.99].map(|uniform| by_weight(&routes, uniform)), [0, 0, 1, 1]);
}
