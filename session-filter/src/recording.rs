//! Recordings, read back: the events of a session become terminals that can be played, and asciicast v2 that others play.
//!
//! ```text
//! events of a session, in order ──▶ Moment::of ──▶ Reel: which terminal, when, is anything missing
//!                                                   └──▶ Cast: lines of asciicast v2
//! ```
//!
//! Nothing here holds more than one event, so a recording may be of any length. What is missing is said ([`Flaw`]), never
//! filled in: a player that smooths over a gap would show what never stood on the screen.
//!
//! What was recorded is hostile text. Neither [`Moment`] nor [`Cast`] makes it fit for a terminal; whoever plays it lets a terminal
//! emulation stand between.

mod cast;
mod moment;
mod reel;

pub use self::cast::Cast;
pub use self::moment::{Acted, Moment, Place, Scene};
pub use self::reel::{FLAWS_MAX, Flaw, RECORDINGS_MAX, Recording, Reel, Shown};
