//! How often something was seen, roughly and never too little: who is let in while there is no room for all.

/// A count-min sketch with conservative updates. It ages: all counts are halved when as many were added as a row has.
#[derive(Clone, Debug)]
pub(super) struct Sketch {
    counts: Vec<u8>,
    row: usize,
    added: usize,
}

const ROWS: usize = 4;

impl Sketch {
    pub(super) fn new(bytes: usize) -> Self {
        let row = (bytes / ROWS).max(64).next_power_of_two();
        Self { counts: vec![0; row.saturating_mul(ROWS)], row, added: 0 }
    }

    pub(super) fn bytes(&self) -> usize {
        self.counts.len()
    }

    /// Counts it, and says how often it was seen at most.
    pub(super) fn count(&mut self, hash: u64) -> u8 {
        if self.added >= self.row {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.added = 0;
        }
        self.added = self.added.saturating_add(1);
        let low =
            self.places(hash).filter_map(|place| self.counts.get(place).copied()).min().unwrap_or(u8::MAX);
        let next = low.saturating_add(1);
        for place in self.places(hash) {
            if let Some(count) = self.counts.get_mut(place) {
                *count = (*count).max(next);
            }
        }
        next
    }

    fn places(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let (row, mask) = (self.row, self.row.saturating_sub(1));
        (0..ROWS).map(move |number| {
            // Two halves of one hash make as many as are asked for (Kirsch and Mitzenmacher 2006).
            let (low, high) = (hash & 0xffff_ffff, hash >> 32 | 1);
            let mixed = low.wrapping_add(high.wrapping_mul(number as u64)) as usize;
            number.saturating_mul(row).saturating_add(mixed & mask)
        })
    }
}
