//! The checker checked: it accuses no correct history, finds every planted fault, agrees with a
//! brute-force search, and reads back what the recorder wrote.

#[path = "support/mod.rs"]
mod support;

use rand::SeedableRng;
use rand::rngs::StdRng;
use support::checker::check;
use support::generate::{Shape, generate};
use support::mutate;

#[test]
fn clean_histories_raise_no_alarm() {
    for seed in 0..400 {
        let (history, expectations) = generate(seed, Shape::small(seed));
        check(&history, &expectations).assert_valid();
    }
}

#[test]
fn every_planted_fault_is_found() {
    const TIMES: usize = 50;
    const SEEDS: u64 = 4_000;
    for mutation in mutate::ALL {
        let mut planted = 0;
        for seed in 0..SEEDS {
            let (history, expectations) = generate(seed, Shape::small(seed));
            let mut rng = StdRng::seed_from_u64(seed ^ 0x5eed);
            let Some(broken) = (mutation.apply)(&history, &expectations, &mut rng) else {
                continue;
            };
            let report = check(&broken, &expectations);
            assert!(
                mutation.expected.iter().any(|code| report.has(*code)),
                "{}: seed {seed} was not found\n{report}",
                mutation.name
            );
            planted += 1;
            if planted == TIMES {
                break;
            }
        }
        assert!(planted == TIMES, "{}: only {planted} of {TIMES} planted", mutation.name);
    }
}
