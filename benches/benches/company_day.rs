//! A day of a company of 10,000 people with 30 applications, in virtual time, judged as the test `day` judges it; and as distributions
//! over several days how long it takes from a fault to its alert, and from its end to the last leaver without access.
//!
//! `COMPANY_DAY_PEOPLE` and `COMPANY_DAY_DAYS` choose other sizes, `COMPANY_DAY_SEED` other days.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench"
)]

use std::time::Instant;

#[path = "../../connector-health/tests/it/day/simulation/mod.rs"]
mod simulation;

use simulation::{Sabotage, Size, day, figures, judge, run};

fn main() {
    let number =
        |name: &str, usual| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    // `cargo test` runs a bench with this to see that it works at all.
    let is_check = std::env::args().any(|argument| argument == "--test");
    let (people, days) = if is_check { (100, 1) } else { (10_000, 3) };
    let people = number("COMPANY_DAY_PEOPLE", people);
    let days = number("COMPANY_DAY_DAYS", days);
    let first = number("COMPANY_DAY_SEED", 1);
    let size = Size { people: usize::try_from(people).unwrap(), applications: 30, hours: 24 };
    let mut lived = Vec::new();
    let mut broken = 0;
    for seed in first..first + days {
        let began = Instant::now();
        // One at a time: a day of 10,000 people is large.
        let (figures, violations, seen) = run(async {
            let day = day(size, seed, Sabotage::None).await;
            let (violations, seen) = judge(&day).await;
            (figures(&day), violations, seen)
        });
        println!("{people} people, 30 applications, 24 h, seed {seed}: {seen:?}, in {:.1?}", began.elapsed());
        for violation in violations.iter().take(20) {
            println!("{violation}");
        }
        broken += violations.len();
        lived.push(figures);
    }
    println!("\n{}", simulation::Figures::over(lived));
    assert_eq!(broken, 0, "what must hold does not");
}
