//! What a source waits for, or cannot follow: said once, and shown until it is settled.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use audit_log::Entry;

use super::{Engine, EngineError};

/// Something that a source has to say until it is settled.
pub(super) struct Notice {
    pub(super) text: String,
    /// Whether somebody can say that it is right; and whether that was said.
    pub(super) asks: bool,
    pub(super) approved: bool,
}

impl Engine {
    /// Goes on a source's way only after somebody's word: said, recorded and shown until it is settled.
    pub(crate) async fn wait_for_word(&self, source: &str, text: String) -> Result<(), EngineError> {
        if self.notices().get(source).is_some_and(|known| known.asks && known.text == text) {
            return Ok(());
        }
        self.record(Entry::new("source.waits").target(source).outcome("failure").field("reason", &text))
            .await?;
        crate::say(&format!("{source} waits for approval (`provisioner approve --source {source}`): {text}"));
        self.notices().insert(source.to_owned(), Notice { text, asks: true, approved: false });
        Ok(())
    }

    /// Something that a source cannot follow; said once.
    pub(crate) fn trouble(&self, source: &str, text: String) {
        let mut notices = self.notices();
        if notices.get(source).is_none_or(|known| known.text != text) {
            for line in text.lines() {
                crate::say(&format!("{source}: {line}"));
            }
            notices.insert(source.to_owned(), Notice { text, asks: false, approved: false });
        }
    }

    /// What is stored of somebody cannot be read: nothing is judged of it, and whoever looks is told so. Recorded once.
    pub(super) async fn unreadable(
        &self,
        whose: &(dyn std::fmt::Display + Sync),
        why: &EngineError,
    ) -> Result<(), EngineError> {
        let source = unreadable_of(whose);
        if self.notices().contains_key(&source) {
            return Ok(());
        }
        let entry = Entry::new("record.unreadable").target(whose.to_string()).outcome("failure");
        self.record(entry.field("message", why.to_string())).await?;
        self.trouble(&source, format!("it cannot be read, and nothing is judged of it: {why}"));
        Ok(())
    }

    /// It can be read.
    pub(super) fn readable(&self, whose: &dyn std::fmt::Display) {
        self.settled(&unreadable_of(whose));
    }

    /// Nothing is to be said of a source any more.
    pub(crate) fn settled(&self, source: &str) {
        self.notices().remove(source);
    }

    /// Whether somebody said that what a source waits for is right.
    pub(crate) fn approved(&self, source: &str) -> bool {
        self.notices().get(source).is_some_and(|notice| notice.approved)
    }

    /// Says that what a source waits for is right. Whether it waits.
    pub(crate) async fn approve_source(&self, source: &str) -> Result<bool, EngineError> {
        let asked = self.notices().get(source).filter(|notice| notice.asks).map(|notice| notice.text.clone());
        let Some(text) = asked else { return Ok(false) };
        self.record(Entry::new("source.approved").target(source).outcome("success").field("reason", &text))
            .await?;
        // Nothing else than what was asked: it may have changed meanwhile.
        let mut notices = self.notices();
        let notice = notices.get_mut(source).filter(|notice| notice.text == text);
        Ok(notice.map(|notice| notice.approved = true).is_some())
    }

    pub(super) fn notices(&self) -> MutexGuard<'_, BTreeMap<String, Notice>> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unreadable_of(whose: &dyn std::fmt::Display) -> String {
    format!("what is stored of {whose}")
}
