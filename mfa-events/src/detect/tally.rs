//! How many different values there were, in a kilobyte: exactly while they are few.

use serde::{Deserialize, Serialize};

/// Most values that are counted exactly.
pub const EXACT_MAX: usize = 128;

const REGISTERS: usize = 1024;
const REGISTER_BITS: u32 = REGISTERS.trailing_zeros();

/// Different hashes: a set while there are at most [`EXACT_MAX`], then HyperLogLog (Flajolet et al. 2007) of 1,024 registers, whose
/// standard error is 3.3 %.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) enum Tally {
    Exact(Vec<u64>),
    /// With what they come to, as that is asked far more often than it changes.
    Registers(Vec<u8>, u64),
}

impl Default for Tally {
    fn default() -> Self {
        Self::Exact(Vec::new())
    }
}

impl Tally {
    /// Whether it may be a new one.
    pub(super) fn add(&mut self, hash: u64) -> bool {
        match self {
            Self::Exact(hashes) if hashes.contains(&hash) => false,
            Self::Exact(hashes) if hashes.len() < EXACT_MAX => {
                hashes.push(hash);
                true
            }
            Self::Exact(hashes) => {
                let mut registers = vec![0; REGISTERS];
                hashes.iter().for_each(|hash| _ = raise(&mut registers, *hash));
                raise(&mut registers, hash);
                let count = estimate(&registers);
                *self = Self::Registers(registers, count);
                true
            }
            Self::Registers(registers, count) => {
                let is_raised = raise(registers, hash);
                if is_raised {
                    *count = estimate(registers);
                }
                is_raised
            }
        }
    }

    /// Reads something of what lies elsewhere in memory.
    pub(super) fn touch(&self) -> u8 {
        match self {
            Self::Exact(hashes) => hashes.last().map_or(0, |hash| u8::from(*hash > 0)),
            Self::Registers(registers, _) => registers.last().copied().unwrap_or_default(),
        }
    }

    pub(super) fn count(&self) -> u64 {
        match self {
            Self::Exact(hashes) => u64::try_from(hashes.len()).unwrap_or(u64::MAX),
            Self::Registers(_, count) => *count,
        }
    }

    pub(super) fn is_exact(&self) -> bool {
        matches!(self, Self::Exact(_))
    }
}

/// Whether a register is larger now.
fn raise(registers: &mut [u8], hash: u64) -> bool {
    let register = usize::try_from(hash >> (64 - REGISTER_BITS)).unwrap_or_default();
    let rank = (hash << REGISTER_BITS).leading_zeros().min(64 - REGISTER_BITS).saturating_add(1);
    let rank = u8::try_from(rank).unwrap_or(u8::MAX);
    match registers.get_mut(register) {
        Some(register) if *register < rank => {
            *register = rank;
            true
        }
        _ => false,
    }
}

fn estimate(registers: &[u8]) -> u64 {
    let m = REGISTERS as f64;
    // 2 to the power of -rank, by its exponent.
    let power = |rank: u8| f64::from_bits(1_023_u64.saturating_sub(u64::from(rank)) << 52);
    let sum: f64 = registers.iter().map(|rank| power(*rank)).sum();
    let raw = 0.7213 / (1.0 + 1.079 / m) * m * m / sum.max(f64::MIN_POSITIVE);
    let empty = registers.iter().filter(|rank| **rank == 0).count();
    let estimate = match raw <= 2.5 * m && empty > 0 {
        true => m * (m / empty as f64).ln(),
        false => raw,
    };
    estimate.round() as u64
}
