//! The messages of `proto/takt.proto`, as generated.

#![allow(missing_docs, clippy::pedantic, reason = "generated; the schema is the documentation")]

include!(concat!(env!("OUT_DIR"), "/takt.v1.rs"));
