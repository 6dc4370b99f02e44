//! How many refusals the log takes: whoever is refused as often as he likes could push older rows
//! out of it.

/// A hundred a minute; the log says how many more there were.
#[derive(Debug, Default)]
pub(crate) struct RefusalBudget {
    minute: u64,
    taken: u32,
}

impl RefusalBudget {
    /// Whether there is room for one more at this time, in milliseconds since 1970.
    pub(crate) fn takes_one(&mut self, at: u64) -> bool {
        if self.minute != at / 60_000 {
            (self.minute, self.taken) = (at / 60_000, 0);
        }
        self.taken = self.taken.saturating_add(1);
        self.taken <= A_MINUTE
    }
}

const A_MINUTE: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_a_hundred_a_minute() {
        let mut budget = RefusalBudget::default();
        let mut taken =
            |from: u64| (from..from + 60_000).filter(|&at| budget.takes_one(at)).count();
        assert_eq!((taken(60_000), taken(120_000)), (100, 100));
    }
}
