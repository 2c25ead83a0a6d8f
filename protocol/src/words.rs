//! The words of Takt as types: one meaning each, private fields, named arithmetic.

use std::fmt;

use crate::limits::{NAME_BYTES_MAX, ORDER_KEY_BYTES_MAX, PRODUCER_ID_BYTES_MAX};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty.
    #[error("the {what} is empty")]
    Empty {
        /// What was named.
        what: &'static str,
    },
    /// The name is longer than its limit.
    #[error("the {what} has {len} bytes; at most {max} are allowed")]
    TooLong {
        /// What was named.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes, inclusive.
        max: usize,
    },
    /// The name holds a character outside its set.
    #[error("the {what} holds {found:?}; it is made of {allowed}")]
    Charset {
        /// What was named.
        what: &'static str,
        /// What it may be made of.
        allowed: &'static str,
        /// The first character that it may not hold.
        found: char,
    },
}

fn check_name(what: &'static str, name: &str) -> Result<(), NameError> {
    check_length(what, name.len(), NAME_BYTES_MAX)?;
    let bad = |(i, c): (usize, char)| {
        let inner = matches!(c, 'a'..='z' | '0'..='9');
        (!inner && (i == 0 || !matches!(c, '.' | '_' | '-'))).then_some(c)
    };
    match name.chars().enumerate().find_map(bad) {
        Some(found) => Err(NameError::Charset {
            what,
            allowed: "a-z and 0-9 and, behind the first character, '.', '_' and '-'",
            found,
        }),
        None => Ok(()),
    }
}

fn check_length(what: &'static str, len: usize, max: usize) -> Result<(), NameError> {
    match len {
        0 => Err(NameError::Empty { what }),
        _ if len > max => Err(NameError::TooLong { what, len, max }),
        _ => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// Checks `name`.
            ///
            /// # Errors
            /// [`NameError`] where it is empty, longer than 255 bytes, or holds a character
            /// other than `a-z`, `0-9`, and, behind the first, `.`, `_`, `-`.
            pub fn new(name: &str) -> Result<Self, NameError> {
                check_name($what, name)?;
                Ok(Self(name.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }
    };
}

name!(
    /// A node: for a plant its plant's name, as the certificate says it. The origin of partitions.
    NodeName, "node name"
);
name!(
    /// A topic.
    TopicName, "topic name"
);
name!(
    /// A named durable position of a consumer.
    CursorName, "cursor name"
);

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name($inner);

        impl $name {
            /// Wraps the bare number.
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// The bare number.
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// The number of a partition within its topic, from 0.
    PartitionNumber(u16)
);
number!(
    /// The place of a visible record in its partition: 0, 1, 2, ... without gaps.
    Offset(u64)
);
number!(
    /// The place of a stored batch in its partition: 0, 1, 2, ... also those with no visible record.
    BatchNumber(u64)
);
number!(
    /// The place of a record within its order key, topic and origin: 1, 2, 3, ... without gaps.
    OrderSequence(u64)
);
number!(
    /// The number that a producer gives a record in a topic: from 1, continued over restarts.
    /// 0 stands for "nothing yet".
    Sequence(u64)
);
number!(
    /// The incarnation of a producer; a lower one never appends after a higher one.
    Epoch(u64)
);

macro_rules! successor {
    ($($name:ident),*) => {$(
        impl $name {
            /// The one `count` further on, or `None` past the end of the numbers.
            pub const fn checked_add(self, count: u64) -> Option<Self> {
                match self.0.checked_add(count) {
                    Some(value) => Some(Self(value)),
                    None => None,
                }
            }

            /// The one `count` further on.
            ///
            /// # Panics
            /// Past the end of the numbers: 2^64 is out of reach of a counter by ones.
            #[must_use]
            pub const fn advance(self, count: u64) -> Self {
                match self.checked_add(count) {
                    Some(next) => next,
                    None => panic!("a counter of 64 bits has run out"),
                }
            }
        }
    )*};
}
successor!(Offset, BatchNumber, OrderSequence, Sequence, Epoch);

/// A moment in microseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Wraps microseconds since 1970.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    pub const fn as_micros(self) -> i64 {
        self.0
    }
}

macro_rules! opaque {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Wraps the 16 bytes.
            pub const fn new(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// The 16 bytes as a number, little-endian.
            pub const fn as_u128(&self) -> u128 {
                u128::from_le_bytes(self.0)
            }

            /// From a number, little-endian.
            pub const fn from_u128(value: u128) -> Self {
                Self(value.to_le_bytes())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}
opaque!(
    /// Which journal: random, made once with the data directory.
    JournalId
);
opaque!(
    /// xxh3-128 over the previous chain and the header of the batch that carries this one.
    PartitionChain
);
opaque!(
    /// What tells a repeat from a conflict: see [`crate::hashing::DigestHasher`].
    Digest
);

/// Who sends: the certificate's identity, `#`, and the name that the producer chose. At most
/// 255 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(std::sync::Arc<str>);

impl ProducerId {
    /// Joins an identity and a name.
    ///
    /// # Errors
    /// [`NameError`] where the name is no name or the whole is longer than 255 bytes.
    pub fn new(identity: &str, name: &str) -> Result<Self, NameError> {
        check_name("producer name", name)?;
        Self::from_text(&format!("{identity}#{name}"))
    }

    /// Takes a whole id as stored.
    ///
    /// # Errors
    /// [`NameError`] where it is empty or longer than 255 bytes.
    pub fn from_text(text: &str) -> Result<Self, NameError> {
        check_length("producer id", text.len(), PRODUCER_ID_BYTES_MAX)?;
        Ok(Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What must stay in order: a production order, a lot, an ECO. 1 to 255 bytes of UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderKey(std::sync::Arc<str>);

impl OrderKey {
    /// Checks `key`.
    ///
    /// # Errors
    /// [`NameError`] where it is empty or longer than 255 bytes.
    pub fn new(key: &str) -> Result<Self, NameError> {
        check_length("order key", key.len(), ORDER_KEY_BYTES_MAX)?;
        Ok(Self(key.into()))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A partition by its full name: records in it are judged and numbered by `origin` only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    /// The node that judges and numbers.
    pub origin: NodeName,
    /// The topic.
    pub topic: TopicName,
    /// The number within the topic.
    pub number: PartitionNumber,
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.origin, self.topic, self.number)
    }
}
