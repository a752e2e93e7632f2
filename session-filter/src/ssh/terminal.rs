//! A client's terminal: what it showed is recorded.

use std::sync::Arc;
use std::time::Instant;

use super::channel::PtyRequest;
use super::session::Session;
use crate::event::RecordingPosition;
use crate::record::RecordError;

pub(crate) struct Terminal {
    recording_id: String,
    began: Instant,
}

impl Terminal {
    pub(crate) async fn start(_session: &Arc<Session>, _pty: &PtyRequest) -> Result<Arc<Self>, RecordError> {
        Ok(Arc::new(Self { recording_id: uuid::Uuid::now_v7().to_string(), began: Instant::now() }))
    }

    pub(crate) async fn output(&self, _bytes: &[u8]) {}

    #[expect(dead_code, reason = "the managed prompt is what has input of its own")]
    pub(crate) async fn input(&self, _bytes: &[u8]) {}

    pub(crate) fn typed(&self, _count: usize) {}

    pub(crate) fn resize(&self, _cols: u32, _rows: u32) {}

    pub(crate) fn position(&self) -> RecordingPosition {
        let at_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        RecordingPosition::new(&self.recording_id, at_ms, 0)
    }

    pub(crate) async fn finish(&self) {}
}
