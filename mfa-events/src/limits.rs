//! Limits of what comes from outside.

/// Most bytes of one event as JSON.
pub const EVENT_BYTES_MAX: usize = 16 * 1024;

/// Most events of one batch.
pub const BATCH_EVENTS_MAX: usize = 10_000;

/// Most bytes of one batch. What reads from a network stops there.
pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most levels of arrays and objects in `ext`, itself the first.
pub const EXT_DEPTH_MAX: usize = 8;

/// Most bytes of `ext` as compact JSON.
pub const EXT_BYTES_MAX: usize = 4 * 1024;

/// Most bytes of a code: a reason, a recovery method, the evaluation of a signal.
pub const CODE_BYTES_MAX: usize = 64;

/// Most bytes of a text for people: `message`, a region, a city.
pub const TEXT_BYTES_MAX: usize = 512;

/// Most faults that are told of one event.
pub const FAULTS_MAX: usize = 16;
