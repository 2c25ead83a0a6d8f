//! The wire's error codes: one table. A code never changes its meaning and is never used again.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $retry:literal, $text:literal;)*) => {
        /// Why a peer was refused. The number goes over the wire.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[$doc])* $name,)*
        }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The number on the wire.
            pub const fn number(self) -> u32 {
                match self {
                    $(Self::$name => $code,)*
                }
            }

            /// The code of a number; what a newer peer may send is [`ErrorCode::Internal`].
            pub const fn from_number(number: u32) -> Self {
                match number {
                    $($code => Self::$name,)*
                    _ => Self::Internal,
                }
            }

            /// Whether the same request may succeed later without anyone changing it.
            pub const fn is_retryable(self) -> bool {
                match self {
                    $(Self::$name => $retry,)*
                }
            }

            /// What it means, in a sentence.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

codes! {
    /// Something the node cannot name. Its log can.
    Internal = 1, false, "the node met an error that its log explains";
    /// The node is stopping.
    Stopping = 2, true, "the node is stopping; connect again";
    /// The peers have no protocol version in common.
    Version = 3, false, "the peers have no protocol version in common; upgrade the older one";
    /// A frame that does not decode or was not expected.
    Protocol = 10, false, "a frame does not decode or was not expected here";
    /// A frame over its limit.
    FrameTooLarge = 11, false, "a frame is larger than 1 MiB";
    /// A batch that does not pass its checks.
    BadBatch = 12, false, "a batch does not pass its checks";
    /// Something that must be atomic does not fit a commit.
    TooLarge = 13, false, "what must be stored at once is larger than a commit";
    /// The identity has no right to do so.
    Forbidden = 20, false, "the certificate's identity has no right to do this, or there is no such thing";
    /// There is no such topic.
    UnknownTopic = 21, false, "there is no such topic; create it first";
    /// The topic exists with other settings.
    TopicExists = 22, false, "the topic exists with other settings";
    /// There is no such cursor, conflict, or position.
    NotFound = 23, false, "there is nothing under this name";
    /// A request with an argument that does not hold.
    BadRequest = 24, false, "an argument of the request does not hold";
    /// A newer incarnation of the producer exists.
    Fenced = 30, false, "a newer producer has taken over this name";
    /// A batch's first sequence is not the last one's plus one.
    Gap = 31, true, "the batch does not follow the last one; send again from there";
    /// A sequence was used with other content, or is older than the receipts kept.
    SequenceReused = 32, false, "the sequence was used before with other content";
    /// No space: publishing is refused before anything is damaged.
    Full = 33, true, "the node's disk is full; publishing resumes when there is room";
    /// The dedup ledger holds as many keys as it may.
    LedgerFull = 34, false, "the dedup ledger is full; raise ledger.keys_max and restart the node";
    /// More batches or bytes in flight than allowed.
    TooManyInFlight = 35, false, "more batches are in flight than allowed";
    /// What decides a batch cannot be read from the disk.
    Unreadable = 36, true, "a part of the dedup ledger cannot be read from the node's disk; its log says which";
    /// Origin and mirror do not hold the same batches.
    Diverged = 40, false, "origin and mirror do not hold the same batches; nothing is overwritten";
    /// A second link of the same node.
    LinkReplaced = 41, true, "a newer link of the same node has taken over";
    /// The position was trimmed by retention.
    Trimmed = 50, false, "the position lies before the oldest record that is kept";
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_its_number_and_no_number_stands_twice() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), *code);
        }
        let mut numbers: Vec<_> = ErrorCode::ALL.iter().map(|code| code.number()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), ErrorCode::ALL.len());
    }
}
