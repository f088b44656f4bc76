//! The checker checked.

#[path = "support/mod.rs"]
mod support;

use support::checker::check;
use support::generate::{Shape, generate};

#[test]
fn clean_histories_raise_no_alarm() {
    for seed in 0..3000 {
        let (history, expectations) = generate(seed, Shape::small(seed));
        let report = check(&history, &expectations);
        assert!(report.anomalies.is_empty(), "seed {seed}\n{report}");
        report.assert_valid();
    }
}
