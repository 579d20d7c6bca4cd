//! `topk`, `bottomk`, `sort`, `sort_desc`: whole series elements chosen or ordered by value.

use std::cmp::Ordering;

use super::Groups;
use crate::series::StepSeries;

/// Which values come first. NaN comes last either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Ascending,
    Descending,
}

impl Order {
    fn compare(self, a: f64, b: f64) -> Ordering {
        let numbers =
            a.partial_cmp(&b).map(|order| if self == Order::Descending { order.reverse() } else { order });
        numbers.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
    }
}

/// The `k` first elements of each group at each step, as series; of equal values the one whose labels come
/// first. Groups follow one another, series in a group stand in the order in which they first came up.
pub(super) fn best(groups: Groups, order: Order, k: usize, steps: u32) -> Vec<StepSeries> {
    groups.into_values().flat_map(|members| best_of_group(members, order, k, steps)).collect()
}

fn best_of_group(members: Vec<StepSeries>, order: Order, k: usize, steps: u32) -> Vec<StepSeries> {
    let mut by_step: Vec<Vec<(usize, f64)>> = vec![Vec::new(); steps as usize];
    for (member, series) in members.iter().enumerate() {
        series.points.iter().for_each(|&(step, value)| by_step[step as usize].push((member, value)));
    }
    let mut points: Vec<Vec<(u32, f64)>> = vec![Vec::new(); members.len()];
    let mut chosen: Vec<usize> = Vec::new();
    for (elements, step) in by_step.iter_mut().zip(0u32..) {
        // Stable, and members are sorted by labels.
        elements.sort_by(|a, b| order.compare(a.1, b.1));
        for &(member, value) in elements.iter().take(k) {
            if points[member].is_empty() {
                chosen.push(member);
            }
            points[member].push((step, value));
        }
    }
    let series = |member: usize, points| StepSeries { labels: members[member].labels.clone(), points };
    chosen.into_iter().map(|member| series(member, std::mem::take(&mut points[member]))).collect()
}
