//! Where it becomes known who joins, moves and leaves, besides `POST /events`.

pub(crate) mod csv;
pub(crate) mod ends;
pub(crate) mod stdin;
pub(crate) mod webhook;
