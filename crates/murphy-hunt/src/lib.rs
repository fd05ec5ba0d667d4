//! Systems under test: real clusters in namespaces, traffic, a nemesis, and the hunt for a broken promise.
//!
//! A [`system::System`] says how to start, reach and judge one kind of cluster; [`hunt::run`] starts it in
//! a [`lab::Lab`], loads it, hurts it by a seeded schedule, compares its members and lets the judge speak.
//! This crate prints nothing: progress goes to a [`progress::Listener`].

#![forbid(unsafe_code)]

pub mod hunt;
pub mod lab;
pub mod nemesis;
pub mod pb;
pub mod progress;
pub mod recorder;
pub mod system;
pub mod systems;
