//! The binary as its users meet it: started as a process, used with the real ssh client, killed without warning.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice
)]

mod audit;
mod check;
mod crash;
mod demo;
mod disk_full;
mod events;
mod live;
mod logins;
mod on_terminal;
mod operators;
mod serve;
mod stage;
mod target;
mod terminals;
