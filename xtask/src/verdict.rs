//! Reading the test harness's own count of what it ran.

/// The sum of the harness's closing lines, `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Verdict {
    /// Takes one line of output into account.
    pub(crate) fn see(&mut self, line: &str) {
        let Some((_, counts)) = line.split_once("test result: ") else { return };
        for part in counts.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let (Some(count), Some(what)) = (words.next(), words.next()) else { continue };
            let Ok(count) = count.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                _ => (),
            }
        }
    }

    pub(crate) fn ran(self) -> u64 {
        self.passed + self.failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_closing_lines_and_nothing_else() {
        let mut verdict = Verdict::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s",
            "test 9 passed; 9 failed ... ok",
            "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s",
        ] {
            verdict.see(line);
        }
        assert_eq!(verdict, Verdict { passed: 7, failed: 2 });
    }

    #[test]
    fn counts_only_ignored_tests_as_nothing_run() {
        let mut verdict = Verdict::default();
        verdict.see(
            "test result: ok. 0 passed; 0 failed; 12 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        );
        assert_eq!(verdict.ran(), 0);
    }
}
