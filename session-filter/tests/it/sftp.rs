//! The SFTP guard between hostile clients, hostile targets, and a file server in memory that follows links.

mod bench;
mod content;
mod permission;
mod properties;
mod protocol;
mod target;
