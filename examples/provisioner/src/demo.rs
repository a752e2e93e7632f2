//! `provisioner demo`: three applications on loopback, and what becomes of those who leave while they are ill.

mod application;
