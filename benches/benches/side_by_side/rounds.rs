//! Contenders measured in turn within one run, with the median of their rates, and of the ratios of rates
//! that were measured in the same round.

use std::time::Duration;

use super::side_by_side::Samples;

/// One side of a comparison.
pub(crate) struct Contender<'a> {
    name: &'static str,
    /// What one operation counts for: the batch for batches, the length for bytes.
    units: f64,
    /// Does so many operations and says how long it took; what it prepares before is not counted.
    round: Box<dyn FnMut(usize) -> Duration + 'a>,
}

impl<'a> Contender<'a> {
    pub(crate) fn new(name: &'static str, units: usize, round: impl FnMut(usize) -> Duration + 'a) -> Self {
        Self { name, units: units as f64, round: Box::new(round) }
    }

    /// How many operations fill a round; also warms up.
    fn calibrate(&mut self, round: Duration) -> usize {
        let mut operations = 1;
        loop {
            let taken = (self.round)(operations);
            if taken * 4 >= round || operations >= 1 << 24 {
                let wanted = operations as f64 * round.as_secs_f64() / taken.as_secs_f64().max(1e-9);
                return (wanted as usize).max(1);
            }
            operations *= 2;
        }
    }
}

/// Units per second of each contender, round by round.
pub(crate) struct Measured {
    rates: Vec<(&'static str, Samples)>,
}

/// Measures all contenders in every round, each round beginning with another one, so that whatever disturbs the machine
/// disturbs all of them alike.
pub(crate) fn measure(mut contenders: Vec<Contender<'_>>, rounds: usize, round: Duration) -> Measured {
    let operations: Vec<usize> = contenders.iter_mut().map(|contender| contender.calibrate(round)).collect();
    let mut rates: Vec<_> = contenders.iter().map(|contender| (contender.name, Samples::default())).collect();
    for first in 0..rounds {
        for turn in 0..contenders.len() {
            let place = (first + turn) % contenders.len();
            let contender = &mut contenders[place];
            let taken = (contender.round)(operations[place]);
            rates[place].1.push(operations[place] as f64 * contender.units / taken.as_secs_f64());
        }
    }
    Measured { rates }
}

impl Measured {
    fn rate(&self, name: &str) -> &Samples {
        &self.rates.iter().find(|(known, _)| *known == name).expect("a contender of that name").1
    }

    /// The rates, one line each.
    pub(crate) fn print(&self, title: &str, form: impl Fn(f64) -> String) {
        println!("\n{title}");
        for (name, rate) in &self.rates {
            println!("  {name:<44} {}", show(rate, &form));
        }
    }

    /// The ratio of two rates of the same round, beside what it is to be.
    pub(crate) fn print_ratio(&self, name: &str, other: &str, goal: &str) {
        let (own, other_rate) = (&self.rate(name).0, &self.rate(other).0);
        let ratio = Samples(own.iter().zip(other_rate).map(|(own, other)| own / other).collect());
        let shown = show(&ratio, |ratio| format!("{ratio:.2}×"));
        println!("  {:<72} {shown:<24} {goal}", format!("{name} ÷ {other}"));
    }
}

/// Median, and the range that eight rounds out of ten fall into.
fn show(samples: &Samples, form: impl Fn(f64) -> String) -> String {
    let [median, least, most] = [0.5, 0.1, 0.9].map(|part| form(samples.quantile(part)));
    format!("{median} ({least}–{most})")
}
