//! Limits of what is kept and of what is read back. Errors name them.

use chrono::TimeDelta;

/// Most bytes of one secret, as it is kept: all its texts and 5 bytes for each.
pub const SECRET_BYTES_MAX: usize = 1024 * 1024;

/// Most fields of a key-value secret.
pub const FIELDS_MAX: usize = 256;

/// Most bytes of the name of a field.
pub const FIELD_NAME_BYTES_MAX: usize = 256;

/// Most bytes of a path.
pub const PATH_BYTES_MAX: usize = 512;

/// Most bytes of an id: an actor, a session, a target.
pub const ID_BYTES_MAX: usize = 256;

/// Most versions of a secret that are kept. One more ends the oldest.
pub const VERSIONS_MAX: u32 = 100;

/// How many versions are kept where nothing is said.
pub const VERSIONS_DEFAULT: u32 = 10;

/// Most labels of a secret.
pub const LABELS_MAX: usize = 64;

/// Most bytes of a label's name and of its value.
pub const LABEL_BYTES_MAX: usize = 512;

/// Most data keys of a vault: rotate, re-encrypt, retire.
pub const DATA_KEYS_MAX: usize = 64;

/// Most paths or rows that one call answers.
pub const PAGE_MAX: usize = 1_000;

/// Longest life of a handle.
pub const HANDLE_LIFETIME_MAX: TimeDelta = TimeDelta::days(7);

/// How long a handle is remembered after it ran out, so that whoever comes with it raises an alarm.
pub const HANDLE_MEMORY: TimeDelta = TimeDelta::days(30);

/// Most bytes of a header that is read.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;

/// Most bytes of what a key provider keeps in the header.
pub const PARAMETERS_BYTES_MAX: usize = 4 * 1024;

/// Most bytes of a passphrase.
pub const PASSPHRASE_BYTES_MAX: usize = 4 * 1024;

/// Most memory that Argon2id is given, whatever a header says, in KiB: 1 GiB.
pub const ARGON2_MEMORY_KIB_MAX: u32 = 1024 * 1024;

/// Least memory that Argon2id is given, in KiB. OWASP Password Storage Cheat Sheet: 19 MiB with two passes.
pub const ARGON2_MEMORY_KIB_MIN: u32 = 19 * 1024;

/// Most passes of Argon2id.
pub const ARGON2_PASSES_MAX: u32 = 16;

/// Least passes of Argon2id.
pub const ARGON2_PASSES_MIN: u32 = 2;

/// Most lanes of Argon2id.
pub const ARGON2_LANES_MAX: u32 = 16;

/// Most shares that a key is dealt into. One byte numbers them, and 0 is the key itself.
pub const SHARES_MAX: u8 = 255;

/// Most bytes of a share as text.
pub const SHARE_BYTES_MAX: usize = 256;

/// Most bytes of a row's key in a store.
pub const ROW_KEY_BYTES_MAX: usize = 1024;

/// Most bytes of a row's value in a store.
pub const ROW_VALUE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Most rows that one batch writes.
pub const BATCH_ROWS_MAX: usize = 1_000;
