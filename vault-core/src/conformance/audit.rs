use chrono::{DateTime, TimeDelta, Utc};

use crate::audit::{AuditEvent, AuditSink, EventType, Mark, Outcome};
use crate::id::{ActorId, Caller, VaultId};

/// Runs every check of a sink that has no records yet. One that cannot say what its newest record is may answer `None` throughout.
pub async fn audit(sink: &dyn AuditSink, now: DateTime<Utc>) {
    assert_eq!(sink.newest().await.unwrap(), None, "there are no records at first");
    let by = Caller::new(ActorId::new("conformance").unwrap());
    let vault = VaultId::new([7; 16]);
    let event = |generation, seconds| {
        let at = now + TimeDelta::seconds(seconds);
        AuditEvent::new(EventType::SecretWritten, &by, Mark { vault, generation }, at)
    };
    sink.record(&event(3, 0)).await.unwrap();
    let newest = sink.newest().await.unwrap();
    assert!(
        matches!(newest, None | Some(Mark { generation: 3, .. })),
        "the newest is what was recorded: {newest:?}"
    );
    sink.record(&event(2, 1)).await.unwrap();
    let after = sink.newest().await.unwrap();
    assert_eq!(after, newest, "a lower generation that comes later is not newer");
    if newest.is_none() {
        return;
    }
    assert_eq!(newest.map(|mark| mark.vault), Some(vault), "and it is said of which vault");
    sink.outcome(event(3, 2).result(Outcome::Success, None, 4));
    // An outcome may be written later, and is then before the next record.
    sink.record(&event(4, 3)).await.unwrap();
    assert_eq!(sink.newest().await.unwrap(), Some(Mark { vault, generation: 4 }), "generations go on");
}
