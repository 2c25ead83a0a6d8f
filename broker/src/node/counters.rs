//! What the shell counts; the store counts what it judges.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident => $key:literal;)*) => {
        /// Counts since the start.
        #[derive(Debug, Default)]
        pub(crate) struct NodeCounters {
            $($name: AtomicU64,)*
        }

        impl NodeCounters {
            $($(#[$doc])* pub fn $name(&self) {
                self.$name.fetch_add(1, Ordering::Relaxed);
            })*

            /// All counts by name.
            pub fn fill(&self, into: &mut BTreeMap<String, u64>) {
                $(into.insert($key.to_owned(), self.$name.load(Ordering::Relaxed));)*
            }
        }
    };
}

counters! {
    /// A connection that passed its handshake.
    connected => "connections";
    /// A connection that was refused.
    refused_connection => "connections_refused";
    /// An action that the identity has no right to.
    denied => "denied";
    /// A stream that broke the protocol.
    protocol_error => "protocol_errors";
    /// A batch that did not pass its checks.
    bad_batch => "bad_batches";
}
