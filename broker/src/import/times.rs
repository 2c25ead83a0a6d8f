//! Times as a file writes them.

use std::fmt;

use jiff::civil::DateTime;
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use takt_protocol::words::Timestamp;

/// Why times cannot be read like this at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeFormatError {
    /// The format names no zone and none is given.
    #[error(
        "times written as \"{0}\" carry no offset: name their zone, such as Europe/Berlin or UTC"
    )]
    NoZone(String),
    /// The format carries an offset and a zone is given too.
    #[error("times written as \"{0}\" carry an offset already: a zone has no place beside it")]
    ZoneTwice(String),
    /// There is no such zone.
    #[error("no time zone \"{0}\": write an IANA name such as Europe/Berlin, or UTC")]
    UnknownZone(String),
    /// The format does not describe a moment.
    #[error("\"{format}\" is no format for a time: {reason}")]
    Format {
        /// The format.
        format: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A text is no time of the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TimeError(String);

/// A local time that the zone has twice or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmbiguousTime {
    /// The time as it stands in the file, without a zone.
    pub local: String,
    /// Twice or not at all.
    pub kind: TimeKind,
    /// The moment that it was taken for.
    pub taken: Timestamp,
}

/// What a change of the clocks did to a local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeKind {
    /// The clocks went back over it: it came twice, and the first is taken.
    Twice,
    /// The clocks skipped it: it is taken as if they had not yet.
    Skipped,
}

impl fmt::Display for AmbiguousTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            TimeKind::Twice => "came twice when the clocks went back, taken as the first",
            TimeKind::Skipped => "was skipped by the clocks, taken as if it had not been",
        };
        write!(f, "{} {what}", self.local)
    }
}

/// Reads times of one format.
#[derive(Debug, Clone)]
pub struct TimeReader {
    format: String,
    /// The zone of local times; `None` where the format carries an offset.
    zone: Option<TimeZone>,
}

impl TimeReader {
    /// Checks the format by writing and reading a time with it.
    ///
    /// # Errors
    /// [`TimeFormatError`] where the format is not one, does not tell date and time of day (a date
    /// alone is midnight), or where there is not exactly one of a zone and an offset.
    pub fn new(format: &str, zone: Option<&str>) -> Result<Self, TimeFormatError> {
        let zone = match zone {
            None => None,
            Some("UTC") => Some(TimeZone::UTC),
            Some(name) => Some(
                TimeZone::get(name).map_err(|_| TimeFormatError::UnknownZone(name.to_owned()))?,
            ),
        };
        Self::in_zone(format, zone)
    }

    pub(super) fn in_zone(format: &str, zone: Option<TimeZone>) -> Result<Self, TimeFormatError> {
        match (carries_offset(format), &zone) {
            (false, None) => return Err(TimeFormatError::NoZone(format.to_owned())),
            (true, Some(_)) => return Err(TimeFormatError::ZoneTwice(format.to_owned())),
            (false, Some(_)) | (true, None) => {}
        }
        let reader = Self { format: format.to_owned(), zone };
        let sample = DateTime::constant(2012, 11, 22, 13, 44, 55, 123_456_000);
        let sample = sample.to_zoned(TimeZone::UTC).map_err(|e| e.to_string());
        sample
            .and_then(|sample| strtime::format(format, &sample).map_err(|e| e.to_string()))
            .and_then(|text| reader.read(&text).map_err(|e| e.to_string()))
            .map_err(|reason| TimeFormatError::Format { format: format.to_owned(), reason })?;
        Ok(reader)
    }

    /// The moment that `text` names, cut to microseconds, and whether a change of the clocks left
    /// a choice.
    ///
    /// # Errors
    /// [`TimeError`] where it is no time of the format.
    pub fn read(&self, text: &str) -> Result<(Timestamp, Option<AmbiguousTime>), TimeError> {
        let wrong = |error: jiff::Error| TimeError(error.to_string());
        let parsed = BrokenDownTime::parse(&self.format, text).map_err(wrong)?;
        let Some(zone) = &self.zone else {
            let zoned = parsed.to_zoned().map_err(wrong)?;
            return Ok((Timestamp::from_micros(zoned.timestamp().as_microsecond()), None));
        };
        let ambiguous = zone.to_ambiguous_zoned(parsed.to_datetime().map_err(wrong)?);
        let kind = match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } => None,
            AmbiguousOffset::Gap { .. } => Some(TimeKind::Skipped),
            AmbiguousOffset::Fold { .. } => Some(TimeKind::Twice),
        };
        let zoned = ambiguous.compatible().map_err(wrong)?;
        let taken = Timestamp::from_micros(zoned.timestamp().as_microsecond());
        Ok((taken, kind.map(|kind| AmbiguousTime { local: text.to_owned(), kind, taken })))
    }
}

/// Whether a format says where on the earth its times are: an offset, a zone, or seconds since 1970.
fn carries_offset(format: &str) -> bool {
    let mut rest = format;
    while let Some((_, directive)) = rest.split_once('%') {
        let flag = |c: char| c.is_ascii_digit() || "-_^#:.".contains(c);
        let directive = directive.trim_start_matches(flag);
        if directive.starts_with(['z', 'Q', 's']) {
            return true;
        }
        rest = directive.get(1..).unwrap_or_default();
    }
    false
}
