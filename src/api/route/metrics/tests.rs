//! The projection.

use std::time::Duration;

use super::*;

#[test]
fn a_year_is_projected_from_a_day_at_least() {
    // An agent that has just started is taken to be done with what it writes at its start.
    assert_eq!(in_a_year(10_000, 60), 3_650_000);
    assert_eq!(in_a_year(10_000, DAY_SECS), 3_650_000);
    assert_eq!(in_a_year(10_000, 10 * DAY_SECS), 365_000);
    assert_eq!(in_a_year(u64::MAX, 0), u64::MAX);
    assert_eq!(Duration::from_secs(YEAR_SECS), Duration::from_secs(DAY_SECS) * 365);
}
