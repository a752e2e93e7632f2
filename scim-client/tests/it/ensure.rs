//! Operations that are safe to repeat: what they do to a service, and whether what they say of it is true.

mod behaviour;
mod scripts;
mod service;
