//! Named limits. Whatever someone outside can grow ends at one of these, with a named refusal.

use std::time::Duration;

/// Longest command line that is looked at; a longer one is denied as `line_too_long`.
pub const LINE_BYTES_MAX: usize = 16 * 1024;
/// Most words in a command line, all of its commands together; more is denied as `too_many_words`.
pub const ARGV_WORDS_MAX: usize = 1024;
/// Most commands joined in one line by `|`, `&&`, `||` and `;`; more is denied as `too_many_commands`.
pub const LINE_COMMANDS_MAX: usize = 64;
/// Most bytes of a line that a denial repeats to the user.
pub const DENIAL_LINE_BYTES_MAX: usize = 256;
/// Most alternatives that a denial suggests.
pub const DENIAL_HINTS_MAX: usize = 8;

/// Longest bracketed paste that the managed prompt takes; of a longer one nothing is taken.
pub const PASTE_BYTES_MAX: usize = 64 * 1024;
/// Most bytes that wait in the managed prompt for their turn, behind the line that runs; what is beyond is refused.
pub const TYPED_AHEAD_BYTES_MAX: usize = 128 * 1024;
/// Longest control sequence from a terminal whose parameters are looked at; a longer one is swallowed.
pub const ESCAPE_BYTES_MAX: usize = 64;
/// Most lines that the managed prompt remembers; the oldest go first.
pub const HISTORY_LINES_MAX: usize = 1_000;
/// Most bytes of lines that it remembers.
pub const HISTORY_BYTES_MAX: usize = 256 * 1024;
/// Most completions that are listed.
pub const COMPLETIONS_MAX: usize = 200;

/// Longest policy text.
pub const POLICY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most `[[permit]]` rules in a policy.
pub const RULES_MAX: usize = 10_000;
/// Most users, and most targets, that one rule may name.
pub const RULE_SELECTORS_MAX: usize = 1_000;
/// Most command patterns in one rule.
pub const RULE_COMMANDS_MAX: usize = 1_000;
/// Most entries in each list of paths, addresses or names of one rule.
pub const RULE_ENTRIES_MAX: usize = 1_000;
/// Most components of a path pattern.
pub const PATH_PATTERN_COMPONENTS_MAX: usize = 64;
/// Most entries in the index made at load: users × targets × programs, summed over the rules.
pub const INDEX_ENTRIES_MAX: usize = 1_000_000;
/// Most redaction expressions in a policy.
pub const REDACTIONS_MAX: usize = 64;
/// Most memory that one compiled redaction expression may take.
pub const REDACTION_BYTES_MAX: usize = 1024 * 1024;
/// Most mistakes that are reported about one policy text.
pub const MISTAKES_MAX: usize = 100;
/// Most warnings that are kept about one policy text.
pub const WARNINGS_MAX: usize = 1_000;

/// First and last part of a stream that a digest keeps, each.
pub const STREAM_EXCERPT_BYTES_MAX: usize = 4 * 1024;

/// Idle limit of a session whose rules state none.
pub const IDLE_DEFAULT: Duration = Duration::from_secs(15 * 60);
/// Longest duration of a session whose rules state none.
pub const LONGEST_DEFAULT: Duration = Duration::from_secs(8 * 60 * 60);
/// Warning before a cut where rules state none.
pub const WARN_DEFAULT: Duration = Duration::from_secs(60);
/// Longest duration that a policy may state for anything.
pub const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// How far in the future an MFA moment may lie (clocks differ between machines) and still count as just now.
pub const MFA_SKEW_MAX: Duration = Duration::from_secs(30);
