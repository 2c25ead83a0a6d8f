//! Durations and sizes as people write them: `250ms`, `5s`, `400d`, `64MiB`, `1GB`, `4096`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

const MILLISECOND: u64 = 1;
const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Longest first, so that the longest unit that divides a value is found first.
const PERIOD_UNITS: [(&str, u64); 5] =
    [("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND), ("ms", MILLISECOND)];

/// Binary units before decimal ones: `Display` prefers them.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// A text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a duration; write a whole number and ms, s, m, h or d, such as \"250ms\"")]
pub struct PeriodError(String);

/// A text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a size; write a whole number of bytes, or one with KiB, MiB, GiB, TiB, kB, MB, \
     GB or TB, such as \"64MiB\""
)]
pub struct SizeError(String);

/// Splits `text` into its number and the factor of its unit.
fn parse(text: &str, units: &[(&str, u64)], bare: Option<u64>) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let factor = match unit.trim_start_matches(' ') {
        "" => bare.or((number == 0).then_some(1))?,
        unit => units.iter().find(|(name, _)| *name == unit)?.1,
    };
    number.checked_mul(factor)
}

/// A duration in whole milliseconds, up to 584 million years. A `0` needs no unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period {
    ms: u64,
}

impl Period {
    /// Of so many milliseconds.
    pub const fn from_ms(ms: u64) -> Self {
        Self { ms }
    }

    /// Of so many seconds.
    pub const fn from_secs(secs: u32) -> Self {
        Self { ms: secs as u64 * SECOND }
    }

    /// Of so many days of 24 hours.
    pub const fn from_days(days: u32) -> Self {
        Self { ms: days as u64 * DAY }
    }

    /// In milliseconds.
    pub const fn ms(self) -> u64 {
        self.ms
    }

    /// The duration.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.ms)
    }
}

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, PeriodError> {
        let ms = parse(text, &PERIOD_UNITS, None);
        ms.map(Self::from_ms).ok_or_else(|| PeriodError(text.escape_debug().to_string()))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = PERIOD_UNITS.iter().find(|(_, factor)| self.ms.is_multiple_of(*factor));
        match whole {
            Some((unit, factor)) if self.ms > 0 => write!(f, "{}{unit}", self.ms / factor),
            _ => f.write_str("0s"),
        }
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size {
    bytes: u64,
}

impl Size {
    /// Of so many bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self { bytes }
    }

    /// Of so many mebibytes.
    pub const fn from_mib(mib: u32) -> Self {
        Self { bytes: (mib as u64) << 20 }
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.bytes
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let bytes = parse(text, &SIZE_UNITS, Some(1));
        bytes.map(Self::from_bytes).ok_or_else(|| SizeError(text.escape_debug().to_string()))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = SIZE_UNITS.iter().find(|(_, factor)| self.bytes.is_multiple_of(*factor));
        match whole {
            Some((unit, factor)) if self.bytes > 0 && *factor > 1 => {
                write!(f, "{}{unit}", self.bytes / factor)
            }
            _ => write!(f, "{}", self.bytes),
        }
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PeriodVisitor;

        impl Visitor<'_> for PeriodVisitor {
            type Value = Period;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration in quotes, such as \"250ms\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Period, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Period, E> {
                number.to_string().parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(PeriodVisitor)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;

        impl Visitor<'_> for SizeVisitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size, such as \"64MiB\" or 4096")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Size, E> {
                number.to_string().parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(SizeVisitor)
    }
}
