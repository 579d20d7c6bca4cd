//! Whatever travels must come to what it was, and what does not fit must be refused.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

use super::{Part, Unfit};
use crate::eval_error::EvalError;
use crate::eval_limits::EvalLimits;
use crate::plan::Leaf;
use crate::range::accumulator::Accumulator;
use crate::range::accumulator::tests::{FUNCTIONS, Line, accumulate, leaf, lines};
use crate::range::windows::Steps;

/// As a node decodes: no more than this is allocated, whatever the bytes say.
const DECODED_BYTES_MAX: usize = 1 << 20;
const CONFIG: Configuration<LittleEndian, Varint, Limit<DECODED_BYTES_MAX>> =
    bincode::config::standard().with_limit::<DECODED_BYTES_MAX>();

fn travelled(part: &Part) -> Part {
    let bytes = bincode::encode_to_vec(part, CONFIG).unwrap();
    let (decoded, used) = bincode::decode_from_slice::<Part, _>(&bytes, CONFIG).unwrap();
    assert_eq!(used, bytes.len());
    decoded
}

fn fresh(leaf: &Leaf, steps: &Steps) -> Accumulator {
    Accumulator::new(leaf, leaf.windows(steps), EvalLimits::DEFAULT)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn merging_parts_that_travelled_equals_merging_the_results(
        pieces in proptest::collection::vec(lines(), 1..4), function in 0usize..FUNCTIONS.len(),
        bytes in 1usize..400, step in 1i64..20, interval in 1i64..40, offset in -10i64..10, fails in any::<bool>(),
    ) {
        let (op, unwrapped) = FUNCTIONS[function];
        let (leaf, steps) = (leaf(op, unwrapped, interval, offset), Steps::range(10, 90, step).unwrap());
        let (mut merged, mut received) = (fresh(&leaf, &steps), fresh(&leaf, &steps));
        for (origin, piece) in pieces.into_iter().enumerate() {
            let numbered: Vec<(u64, Line)> = piece.into_iter().map(|line| (origin as u64, line)).collect();
            let mut result = accumulate(&leaf, &steps, &numbered);
            if fails && origin == 1 {
                result.add_failure(50, "JSONParserErr", [("app", "x")].into_iter());
            }
            merged.merge(result.clone()).unwrap();
            let mut parts = 0;
            for part in result.into_parts(bytes) {
                parts += 1;
                prop_assert_eq!(received.take_part(travelled(&part)), Ok(Ok(())));
            }
            prop_assert!(parts > 0);
        }
        prop_assert_eq!(received.bytes(), merged.bytes());
        // Bit by bit: a NaN is not equal to itself, but it is printed alike.
        prop_assert_eq!(format!("{:?}", received.finish()), format!("{:?}", merged.finish()));
    }

    #[test]
    fn any_bytes_are_decoded_within_bounds_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..300), function in 0usize..FUNCTIONS.len(),
    ) {
        let Ok((part, _)) = bincode::decode_from_slice::<Part, _>(&bytes, CONFIG) else { return Ok(()) };
        let (op, unwrapped) = FUNCTIONS[function];
        let (leaf, steps) = (leaf(op, unwrapped, 10, 0), Steps::range(10, 90, 7).unwrap());
        let mut into = fresh(&leaf, &steps);
        drop(into.take_part(part));
        drop(into.finish());
    }

    #[test]
    fn a_part_with_some_bytes_changed_is_taken_in_or_refused(
        lines in lines(), function in 0usize..FUNCTIONS.len(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (op, unwrapped) = FUNCTIONS[function];
        let (leaf, steps) = (leaf(op, unwrapped, 10, 0), Steps::range(10, 90, 7).unwrap());
        let numbered: Vec<(u64, Line)> = (0..).zip(lines).collect();
        for part in accumulate(&leaf, &steps, &numbered).into_parts(200) {
            let mut bytes = bincode::encode_to_vec(&part, CONFIG).unwrap();
            changes.iter().for_each(|(at, byte)| *at.get_mut(&mut bytes) = *byte);
            let Ok((part, _)) = bincode::decode_from_slice::<Part, _>(&bytes, CONFIG) else { continue };
            let mut into = fresh(&leaf, &steps);
            drop(into.take_part(part));
            drop(into.finish());
        }
    }
}

fn only_part(lines: &[(u64, Line)], of: &Leaf, steps: &Steps) -> Part {
    let parts: Vec<Part> = accumulate(of, steps, lines).into_parts(1 << 20).collect();
    let [part] = <[Part; 1]>::try_from(parts).unwrap();
    part
}

#[test]
fn parts_of_another_function_or_of_no_window_are_refused_whole() {
    use crate::ast::RangeOp::{BytesOverTime, CountOverTime};
    let count = |interval| leaf(CountOverTime, false, interval, 0);
    let steps = Steps::range(100, 200, 100).unwrap();
    let part = only_part(&[(0, (true, 95, 1.0)), (0, (true, 195, 1.0))], &count(10), &steps);
    let mut bytes = fresh(&leaf(BytesOverTime, false, 10, 0), &steps);
    assert_eq!(bytes.take_part(part.clone()), Ok(Err(Unfit::Function)));
    // Intervals 0 and 2 of the four edges 90, 100, 190, 200; here there are but two edges.
    let mut instant = fresh(&count(10), &Steps::instant(100));
    assert_eq!(instant.take_part(part.clone()), Ok(Err(Unfit::Interval(2))));
    assert_eq!(instant.series_count(), 0);
    let mut failed = accumulate(&count(10), &steps, &[]);
    failed.add_failure(195, "JSONParserErr", [("app", "x")].into_iter());
    let failed = failed.into_parts(1).next().unwrap();
    assert_eq!(instant.take_part(failed), Ok(Err(Unfit::Interval(2))));
    assert_eq!(fresh(&count(10), &steps).take_part(part), Ok(Ok(())));
}

#[test]
fn parts_stay_near_their_size_and_a_long_list_of_samples_is_cut() {
    let leaf = leaf(crate::ast::RangeOp::QuantileOverTime, true, 10, 0);
    let steps = Steps::instant(100);
    let lines: Vec<(u64, Line)> = (0..40_000u64).map(|n| (n, (false, 95, n as f64))).collect();
    let parts: Vec<Part> = accumulate(&leaf, &steps, &lines).into_parts(64 << 10).collect();
    assert!(parts.len() >= 4, "{}", parts.len());
    for part in &parts {
        let bytes = bincode::encode_to_vec(part, bincode::config::standard()).unwrap().len();
        assert!(bytes < 128 << 10, "{bytes}");
    }
}

#[test]
fn the_bounds_of_a_query_hold_for_what_others_send() {
    let of = leaf(crate::ast::RangeOp::CountOverTime, false, 10, 0);
    let steps = Steps::instant(100);
    let part = only_part(&[(0, (true, 95, 1.0)), (1, (false, 95, 1.0))], &of, &steps);
    let limits = EvalLimits { leaf_series_max: 1, ..EvalLimits::DEFAULT };
    let mut into = Accumulator::new(&of, of.windows(&steps), limits);
    assert_eq!(into.take_part(part), Err(EvalError::TooManyGroups { limit: 1 }));
}

#[test]
fn nothing_gathered_is_still_one_part() {
    let leaf = leaf(crate::ast::RangeOp::CountOverTime, false, 10, 0);
    let parts: Vec<Part> = fresh(&leaf, &Steps::instant(100)).into_parts(100).collect();
    assert_eq!(parts, [Part::default()]);
}
