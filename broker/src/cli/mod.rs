//! The command line `takt`: what it is told and how it answers.

pub mod output;
