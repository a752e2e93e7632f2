//! What retries may cost: a bucket that retries empty and answers fill, so that an outage is not answered with a storm.

/// What a retry costs.
pub const RETRY_COST: u32 = 5;

/// What a retry costs after an attempt that no answer came to: it kept both sides busy for long.
pub const RETRY_COST_UNANSWERED: u32 = 10;

/// What a call that was answered gives back. So beyond what the bucket held at first there is one retry for
/// `RETRY_COST / BUDGET_EARNED` answers at the most.
pub const BUDGET_EARNED: u32 = 1;

/// How much was spent. Its size is an argument, so that it can be changed.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    spent: u32,
}

impl Budget {
    /// Pays for a retry; `false` where there is not enough.
    pub(crate) fn pay(&mut self, cost: u32, size: u32) -> bool {
        let spent = self.spent.saturating_add(cost);
        let pays = spent <= size;
        if pays {
            self.spent = spent;
        }
        pays
    }

    /// A call was answered.
    pub(crate) fn earn(&mut self) {
        self.spent = self.spent.saturating_sub(BUDGET_EARNED);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn retries_are_what_was_there_and_a_part_of_the_answers(
            size in 0_u32..200,
            answers in prop::collection::vec(any::<bool>(), 0..2_000),
        ) {
            let mut budget = Budget::default();
            let (mut retries, mut earned) = (0_u32, 0_u32);
            for answered in answers {
                if answered {
                    budget.earn();
                    earned += BUDGET_EARNED;
                } else if budget.pay(RETRY_COST, size) {
                    retries += 1;
                }
                prop_assert!(retries * RETRY_COST <= size + earned);
            }
        }
    }
}
