//! How a listing goes from page to page, and when it is whole: a state machine without I/O.
//!
//! A listing that is not whole must never look as if it were: whoever compares it with what should be there would take
//! the missing for gone. So whatever does not add up ends the listing with an error.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};

use crate::error::{Error, ErrorKind};
use crate::message::Page;

/// Most pages of one listing.
pub const PAGES_MAX: usize = 100_000;

/// Most identifiers of a page that are remembered, to see whether the next page goes back behind it.
const PAGE_IDS_MAX: usize = 10_000;

/// Most pages in a row without a resource, though each names a next one.
const EMPTY_PAGES_MAX: usize = 16;

/// What to ask for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Ask {
    /// Everything, without a word about pages.
    Plain,
    /// So many from the beginning, by whichever way of paging the server likes.
    First { count: u64 },
    /// So many from there on.
    Index { start: u64, count: u64 },
    /// So many after the cursor; the empty one is the beginning (RFC 9865 §2).
    Cursor { cursor: String, count: u64 },
}

/// How to page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    /// By index only.
    Index,
    /// By index; by cursor where the first answer offers one.
    IndexOrCursor,
    /// By cursor; by index where the server knows no cursors.
    CursorOrIndex,
    /// By cursor only.
    Cursor,
    /// Everything in one answer, which is an error where it is not everything.
    None,
    /// Everything in one answer, and the rest by index where it is not everything.
    PlainThenIndex,
}

/// What is to be done with a resource.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Take {
    /// It is one more.
    Give,
    /// It was given before.
    Skip,
}

/// What comes after a page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// Another page.
    Go,
    /// Nothing: the listing is whole.
    Whole,
}

/// Where a listing is.
#[derive(Debug)]
pub(crate) struct Pager {
    mode: Mode,
    ask: Ask,
    count: u64,
    resources_max: u64,
    hasher: RandomState,
    /// All that came so far, and those of them that were given on.
    seen: u64,
    given: u64,
    /// How many there are, as the last page said, and the fewest that one said.
    total: Option<u64>,
    total_min: Option<u64>,
    /// The server says of each page how many there are on it, where it should say how many there are.
    total_is_of_page: bool,
    /// A page more is asked for only to see that there is none.
    doubting: bool,
    pages: usize,
    empty_pages: usize,
    first_ids: HashSet<u64>,
    cursors: HashSet<u64>,
    previous: HashSet<u64>,
    current: HashSet<u64>,
    here: u64,
    again: u64,
    first_here: Option<u64>,
}

impl Pager {
    /// At the beginning, with pages of `count`.
    pub(crate) fn new(mode: Mode, count: u64, resources_max: u64) -> Self {
        let count = count.max(1);
        let ask = match mode {
            Mode::Index => Ask::Index { start: 1, count },
            Mode::IndexOrCursor => Ask::First { count },
            Mode::CursorOrIndex | Mode::Cursor => Ask::Cursor { cursor: String::new(), count },
            Mode::None | Mode::PlainThenIndex => Ask::Plain,
        };
        Self {
            mode,
            ask,
            count,
            resources_max,
            hasher: RandomState::new(),
            seen: 0,
            given: 0,
            total: None,
            total_min: None,
            total_is_of_page: false,
            doubting: false,
            pages: 0,
            empty_pages: 0,
            first_ids: HashSet::new(),
            cursors: HashSet::new(),
            previous: HashSet::new(),
            current: HashSet::new(),
            here: 0,
            again: 0,
            first_here: None,
        }
    }

    /// What to ask for now.
    pub(crate) fn ask(&self) -> &Ask {
        &self.ask
    }

    /// The next resource of the page, by its identifier (or whatever else tells it from others).
    pub(crate) fn resource(&mut self, identity: impl Hash) -> Result<Take, Error> {
        let identity = self.hasher.hash_one(identity);
        self.here = self.here.saturating_add(1);
        if self.first_here.is_none() {
            self.first_here = Some(identity);
        }
        let twice_here = self.current.contains(&identity);
        if self.current.len() < PAGE_IDS_MAX {
            self.current.insert(identity);
        }
        if self.previous.contains(&identity) {
            self.again = self.again.saturating_add(1);
            return Ok(Take::Skip);
        }
        if twice_here {
            return Ok(Take::Skip);
        }
        if self.given >= self.resources_max {
            return Err(Error::new(ErrorKind::TooLarge)
                .detail(format!("the listing has more than {} resources", self.resources_max)));
        }
        // What a page more repeats is found out at its end; nothing of it may be given before.
        if !self.doubting || !self.first_here.is_some_and(|first| self.first_ids.contains(&first)) {
            self.given = self.given.saturating_add(1);
            return Ok(Take::Give);
        }
        Ok(Take::Skip)
    }

    /// The page has ended and says this of itself.
    pub(crate) fn end_of_page(&mut self, page: &Page) -> Result<Step, Error> {
        self.pages = self.pages.saturating_add(1);
        let (here, again) = (self.here, self.again);
        let first = self.first_here.take();
        self.here = 0;
        self.again = 0;
        self.previous = std::mem::take(&mut self.current);
        let repeats = first.is_some_and(|first| !self.first_ids.insert(first));
        let grown = match (self.total, page.total_results) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => 0,
        };

        if self.doubting {
            self.doubting = false;
            // The server's total was right, or it does not page and gave the same once more.
            if here == 0 || repeats {
                return Ok(Step::Whole);
            }
            self.total_is_of_page = page.total_results == Some(here);
        }
        if repeats {
            return Err(paging(format!(
                "page {} begins as an earlier one did: does this server page at all?",
                self.pages
            )));
        }
        if again > grown {
            return Err(paging(format!("page {} repeats {again} resources of the page before", self.pages)));
        }
        if self.pages >= PAGES_MAX {
            return Err(paging(format!("more than {PAGES_MAX} pages")));
        }
        self.seen = self.seen.saturating_add(here);
        let before = self.total;
        if let Some(total) = page.total_results {
            self.total = Some(total);
            self.total_min = Some(self.total_min.map_or(total, |least| least.min(total)));
        }
        // By index, one less before us moves one more behind us. A cursor stays where it is.
        if let (Some(before), Some(now), false) = (before, self.total, self.total_is_of_page)
            && now < before
            && !matches!(self.ask, Ask::Cursor { .. })
        {
            return Err(paging(format!(
                "there were {before} resources and now there are {now}, so that some may have been passed over"
            )));
        }
        self.empty_pages = if here == 0 { self.empty_pages.saturating_add(1) } else { 0 };

        let next_cursor = page.next_cursor.as_deref().filter(|cursor| !cursor.is_empty());
        match (&self.ask, next_cursor) {
            (Ask::Plain, _) if self.mode == Mode::None || self.total.is_none() => self.expect_whole(),
            (Ask::Cursor { cursor: asked, .. }, Some(next)) => {
                let stuck = asked == next || !self.cursors.insert(self.hasher.hash_one(next));
                self.go_on(next, stuck)
            }
            (Ask::Cursor { cursor, .. }, None) => {
                let first = cursor.is_empty();
                match self.expect_whole() {
                    // It passed over the parameter, and gave the first page by index.
                    Err(_) if first && self.mode == Mode::CursorOrIndex && here > 0 => {
                        self.mode = Mode::Index;
                        self.by_index(here)
                    }
                    result => result,
                }
            }
            (Ask::First { .. }, Some(next)) => {
                self.cursors.insert(self.hasher.hash_one(next));
                self.go_on(next, false)
            }
            (Ask::First { .. } | Ask::Index { .. } | Ask::Plain, _) => self.by_index(here),
        }
    }

    /// The server finds the page too large: a smaller one, where there can be one.
    pub(crate) fn smaller(&mut self) -> bool {
        let smaller = match &self.ask {
            Ask::First { count } | Ask::Index { count, .. } => *count / 2,
            Ask::Cursor { cursor, count } if cursor.is_empty() => *count / 2,
            Ask::Cursor { .. } | Ask::Plain => 0,
        };
        if smaller == 0 {
            return false;
        }
        self.count = smaller;
        if let Ask::First { count } | Ask::Index { count, .. } | Ask::Cursor { count, .. } = &mut self.ask {
            *count = smaller;
        }
        true
    }

    /// The server knows no cursors.
    pub(crate) fn without_cursors(&mut self) -> bool {
        let can = self.mode == Mode::CursorOrIndex && self.pages == 0;
        if can {
            self.mode = Mode::Index;
            self.ask = Ask::Index { start: 1, count: self.count };
        }
        can
    }

    /// How many came so far, those among them that came twice.
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    /// How many there are, as the server says.
    pub(crate) fn total(&self) -> Option<u64> {
        self.total
    }

    fn go_on(&mut self, cursor: &str, stuck: bool) -> Result<Step, Error> {
        if stuck {
            return Err(paging("a cursor came a second time"));
        }
        if self.empty_pages >= EMPTY_PAGES_MAX {
            return Err(paging(format!("{EMPTY_PAGES_MAX} pages in a row with nothing on them")));
        }
        self.ask = Ask::Cursor { cursor: cursor.to_owned(), count: self.count };
        Ok(Step::Go)
    }

    fn expect_whole(&self) -> Result<Step, Error> {
        match self.total_min {
            Some(total) if total > self.seen => {
                Err(paging(format!("there are {total} resources, and {} came", self.seen)))
            }
            _ => Ok(Step::Whole),
        }
    }

    fn by_index(&mut self, here: u64) -> Result<Step, Error> {
        self.ask = Ask::Index { start: self.seen.saturating_add(1), count: self.count };
        match self.total {
            _ if self.total_is_of_page => Ok(if here == 0 { Step::Whole } else { Step::Go }),
            // Without a total there is only the empty page to tell the end.
            None => Ok(if here == 0 { Step::Whole } else { Step::Go }),
            Some(total) if self.seen < total && here == 0 => {
                Err(paging(format!("there are {total} resources, and after {} no more came", self.seen)))
            }
            Some(total) if self.seen < total => Ok(Step::Go),
            // Servers have been seen to call the length of the page the total. A first page that is full may be one of
            // many.
            Some(total)
                if self.pages == 1 && (total < here || (total == here && here == self.count && here > 1)) =>
            {
                self.doubting = true;
                Ok(Step::Go)
            }
            Some(_) => Ok(Step::Whole),
        }
    }
}

fn paging(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Paging).detail(detail)
}
