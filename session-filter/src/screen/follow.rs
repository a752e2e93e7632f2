//! A screen that keeps up with output at a bounded price.

use super::{COLS_MAX, Picture, ROWS_MAX, Screen};

/// Most output that waits to be emulated. What comes before it is skimmed for modes and colours only.
pub const BACKLOG_BYTES_MAX: usize = 64 * 1024;
/// Output up to which nothing is emulated at all until somebody looks: most sessions are never watched.
const UNSEEN_BYTES_MAX: usize = 16 * 1024;
/// Emulation while output passes by, in nanoseconds per millisecond: two hundredths of a processor.
const BUDGET_PER_MS: u64 = 20_000;
/// What may be saved up of it.
const BUDGET_MAX: u64 = 40_000_000;
/// A cell that is moved, in nanoseconds.
const CELL_COST: u64 = 10;
/// Emulation each time somebody looks.
const LOOK_BUDGET: u64 = 30_000_000;

/// Follows a terminal's output so that its screen can be shown at any moment, without emulating a flood that nobody sees.
///
/// What a person makes a terminal show is emulated as it comes. Of a flood the last [`BACKLOG_BYTES_MAX`] bytes wait and what precedes them
/// is skimmed: of scrolling text the result is the same. A program that draws faster than that, in pieces over several such backlogs,
/// may be shown with gaps until it draws again; the recording has none.
pub struct Follower {
    cols: u32,
    rows: u32,
    screen: Option<Screen>,
    /// The size has changed, which is emulated once there is output for the new one: a client may change it as often as it likes.
    resized: bool,
    backlog: Vec<u8>,
    budget: u64,
    refilled_ms: u64,
}

/// What is on the screen may be secret: only sizes are shown.
impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower")
            .field("cols", &self.cols)
            .field("rows", &self.rows)
            .field("backlog", &self.backlog.len())
            .finish_non_exhaustive()
    }
}

impl Follower {
    /// Follows a terminal of this size.
    pub fn new(cols: u32, rows: u32) -> Self {
        Self {
            cols,
            rows,
            screen: None,
            resized: false,
            backlog: Vec::new(),
            budget: BUDGET_MAX,
            refilled_ms: 0,
        }
    }

    /// Takes output; `now_ms` counts from any moment on.
    pub fn feed(&mut self, bytes: &[u8], now_ms: u64) {
        let passed = now_ms.saturating_sub(self.refilled_ms);
        self.refilled_ms = self.refilled_ms.max(now_ms);
        self.budget = self.budget.saturating_add(passed.saturating_mul(BUDGET_PER_MS)).min(BUDGET_MAX);
        if self.screen.is_none() && self.backlog.len().saturating_add(bytes.len()) <= UNSEEN_BYTES_MAX {
            self.backlog.extend_from_slice(bytes);
            return;
        }
        let mut budget = std::mem::take(&mut self.budget);
        if self.resized && !bytes.is_empty() {
            let cost = self.resize_cost();
            if cost > budget {
                // Sizes change faster than they can be followed: this is drawn for the wrong one.
                self.budget = budget;
                return self.wait(bytes);
            }
            budget = budget.saturating_sub(cost);
            self.take_size(&mut budget);
        }
        self.emulate_backlog(&mut budget);
        let taken = match self.backlog.is_empty() {
            true => self.screen().feed_within(bytes, &mut budget),
            false => 0,
        };
        self.budget = budget;
        self.wait(bytes.get(taken..).unwrap_or_default());
    }

    /// The terminal has another size.
    pub fn resize(&mut self, cols: u32, rows: u32) {
        if (cols, rows) == (self.cols, self.rows) {
            return;
        }
        if !self.resized {
            // The old size is the screen's, and what waits was drawn for it.
            self.screen();
            self.resized = true;
        }
        (self.cols, self.rows) = (cols, rows);
    }

    /// Gives the screen its size. What came before was drawn for the old one: it is emulated as far as `budget` goes.
    fn take_size(&mut self, budget: &mut u64) {
        if !std::mem::take(&mut self.resized) {
            return;
        }
        self.emulate_backlog(budget);
        let backlog = std::mem::take(&mut self.backlog);
        let (cols, rows) = (self.cols, self.rows);
        let screen = self.screen();
        if !backlog.is_empty() {
            screen.skim(&backlog);
        }
        screen.resize(cols, rows);
    }

    /// What that costs, in nanoseconds: cells are moved, on both screens.
    fn resize_cost(&self) -> u64 {
        let cells = |side: u32, max: u16| u64::from(side.min(max.into()));
        let (now_cols, now_rows) = self.screen.as_ref().map_or((0, 0), Screen::size);
        let wanted = cells(self.cols, COLS_MAX).saturating_mul(cells(self.rows, ROWS_MAX));
        let now = u64::from(now_cols).saturating_mul(now_rows.into());
        wanted.max(now).saturating_mul(2 * CELL_COST)
    }

    /// Columns and rows, as the terminal has them.
    pub fn size(&self) -> (u32, u32) {
        (self.cols, self.rows)
    }

    /// What the terminal shows, cut as [`Picture::of`] does, and whether there is more that has not been emulated yet: then look again.
    pub fn picture(&mut self, cols_max: u16, rows_max: u16) -> (Picture, bool) {
        let behind = self.catch_up();
        (Picture::of(self.screen(), cols_max.min(COLS_MAX), rows_max.min(ROWS_MAX)), behind)
    }

    /// The screen, for reading, after as much emulation as output may cost: whoever asks does so for every key that is pressed. `None`
    /// when there is still more to emulate.
    pub fn up_to_date(&mut self) -> Option<&Screen> {
        let mut budget = std::mem::take(&mut self.budget);
        if !self.resized || self.resize_cost() <= budget {
            self.take_size(&mut budget);
            self.emulate_backlog(&mut budget);
        }
        self.budget = budget;
        match self.resized || !self.backlog.is_empty() {
            true => None,
            false => Some(self.screen()),
        }
    }

    fn catch_up(&mut self) -> bool {
        let mut budget = LOOK_BUDGET;
        self.take_size(&mut budget);
        self.emulate_backlog(&mut budget);
        !self.backlog.is_empty()
    }

    fn emulate_backlog(&mut self, budget: &mut u64) {
        if self.backlog.is_empty() || *budget == 0 {
            return;
        }
        let backlog = std::mem::take(&mut self.backlog);
        let taken = self.screen().feed_within(&backlog, budget);
        // Nothing left: the memory is given back, too.
        if taken < backlog.len() {
            self.backlog = backlog;
            self.backlog.drain(..taken);
        }
    }

    /// Keeps what could not be emulated yet. Twice the maximum is allowed to pile up, so that it is seldom moved.
    fn wait(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        let surplus = bytes.len().saturating_sub(BACKLOG_BYTES_MAX);
        let total = self.backlog.len().saturating_add(bytes.len());
        if total > 2 * BACKLOG_BYTES_MAX {
            let mut backlog = std::mem::take(&mut self.backlog);
            let old = total.saturating_sub(BACKLOG_BYTES_MAX).min(backlog.len());
            let (passed, rest) = (backlog.get(..old).unwrap_or_default(), bytes.split_at_checked(surplus));
            self.screen().skim(passed);
            if let Some((passed, rest)) = rest {
                self.screen().skim(passed);
                bytes = rest;
            }
            backlog.drain(..old);
            self.backlog = backlog;
        }
        self.backlog.extend_from_slice(bytes);
    }

    fn screen(&mut self) -> &mut Screen {
        self.screen.get_or_insert_with(|| Screen::new(self.cols, self.rows))
    }
}
