//! Who acts on alerts, and what they can trust.

mod deliver;
#[cfg(feature = "webhook")]
mod webhook;
