//! The managed prompt as values: what is typed, what is drawn, what is a line. No I/O and no clock.
//!
//! ```text
//!  bytes ──▶ keys ──▶ editor (line, history, search, completion) ──▶ actions: a line, an interrupt, the end
//!                        │
//!                        └──▶ bytes to draw
//! ```
//!
//! Nothing here decides what may run. An [`Editor`] gives whole lines to whoever checks them; whatever was typed behind an
//! accepted line stays in it for the next prompt, so that type-ahead is neither lost nor passed on unchecked.
//!
//! What is drawn holds no character that acts on a terminal except the editor's own cursor movements.

pub mod builtin;
pub mod completion;
pub mod editor;
pub mod help;
pub mod history;
pub mod keys;
pub mod lines;
pub mod modes;
pub mod prompt;

mod buffer;
mod drawing;

pub use builtin::Builtin;
pub use editor::{Action, Editor};
pub use history::History;
pub use lines::Lines;
pub use modes::TerminalModes;
