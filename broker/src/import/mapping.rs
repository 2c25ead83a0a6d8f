//! Which column is what, and whether the file has it.

use takt_protocol::limits::ATTRIBUTE_BYTES_MAX;

use super::times::{TimeFormatError, TimeReader};

/// The pseudo column of [`Identity::IdColumn`] that numbers the data rows from 1, where the file
/// has no column of this name itself.
pub const ROW_NUMBER: &str = "#";

/// How alike two names must be for one to be proposed for the other: Jaro-Winkler, 0 to 1.
const ALIKE_MIN: f64 = 0.8;

/// What the columns of a CSV file are. Columns are named as in the header row, case and spaces
/// included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvMapping {
    /// The column of the order key, such as the production order.
    pub order_key: String,
    /// What makes two rows the same event.
    pub identity: Identity,
    /// The column of the time at which the event occurred.
    pub time: String,
    /// How times are written, in the manner of `strftime`: `%Y/%m/%d %H:%M:%S%.f`.
    pub time_format: String,
    /// The zone of times without an offset: an IANA name or `UTC`. Required unless the format
    /// carries an offset, refused if it does.
    pub time_zone: Option<String>,
    /// The type of the events.
    pub kind: ValueOf,
    /// The source of the events.
    pub source: ValueOf,
    /// What stands between two fields: usually `,`, in some countries `;`.
    pub delimiter: u8,
}

/// What makes two rows the same event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The column that holds the id, which with the source is the dedup key. [`ROW_NUMBER`] is the
    /// number of the row.
    IdColumn(String),
    /// The values of these columns together are the dedup key, whatever the source.
    DedupColumns(DedupColumns),
}

/// Columns that are an identity together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DedupColumns {
    /// Every column, in the order of the header: the content is the identity. Merges genuine
    /// repeats; never finds a conflict.
    All,
    /// These columns, in this order.
    Named(Vec<String>),
}

/// Where an attribute comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueOf {
    /// The same text for every row.
    Literal(String),
    /// The value of a column.
    Column(String),
}

/// Why a mapping does not fit a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// The header row has no such column.
    #[error("{}", unknown_column(.column, .nearest.as_deref(), .columns))]
    UnknownColumn {
        /// The column that was asked for.
        column: String,
        /// The column that is most like it, if one is.
        nearest: Option<String>,
        /// All columns of the file.
        columns: Vec<String>,
    },
    /// The header row, or the list of dedup columns, names a column twice.
    #[error("the column \"{}\" stands twice in {place}", column.escape_debug())]
    ColumnTwice {
        /// Its name.
        column: String,
        /// Where it stands twice.
        place: &'static str,
    },
    /// There is no column to make an identity of.
    #[error("no dedup columns: name at least one, or take all")]
    NoDedupColumns,
    /// A literal cannot be an attribute.
    #[error("the {what} has {len} bytes, it must have 1 to {ATTRIBUTE_BYTES_MAX}")]
    Literal {
        /// `type` or `source`.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
    },
    /// The times cannot be read like this.
    #[error(transparent)]
    Time(#[from] TimeFormatError),
}

fn unknown_column(column: &str, nearest: Option<&str>, columns: &[String]) -> String {
    let column = column.escape_debug();
    if let Some(near) = nearest {
        return format!("no column \"{column}\"; did you mean \"{}\"?", near.escape_debug());
    }
    let all: Vec<String> =
        columns.iter().map(|name| format!("\"{}\"", name.escape_debug())).collect();
    format!("no column \"{column}\"; the file has {}", all.join(", "))
}

/// A mapping whose columns are those of a file. Columns are numbers from 0 here.
#[derive(Debug, Clone)]
pub struct BoundMapping {
    pub(super) columns: Vec<String>,
    pub(super) order_key: usize,
    pub(super) identity: BoundIdentity,
    pub(super) time: usize,
    pub(super) times: TimeReader,
    pub(super) kind: BoundValue,
    pub(super) source: BoundValue,
}

#[derive(Debug, Clone)]
pub(super) enum BoundIdentity {
    Id(usize),
    RowNumber,
    Key(Vec<usize>),
}

#[derive(Debug, Clone)]
pub(super) enum BoundValue {
    Literal(String),
    Column(usize),
}

impl BoundValue {
    pub(super) fn of<'a>(&'a self, fields: &[&'a str]) -> &'a str {
        match self {
            Self::Literal(text) => text,
            Self::Column(column) => fields[*column],
        }
    }
}

impl CsvMapping {
    /// Looks the columns up in the header row.
    ///
    /// # Errors
    /// [`MappingError`] with the first thing that does not fit.
    pub fn bind(&self, header: &[&str]) -> Result<BoundMapping, MappingError> {
        if let Some(column) = first_twice(header) {
            return Err(MappingError::ColumnTwice { column, place: "the header row" });
        }
        let value = |value: &ValueOf, what: &'static str| match value {
            ValueOf::Column(name) => column(header, name).map(BoundValue::Column),
            ValueOf::Literal(text) if text.is_empty() || text.len() > ATTRIBUTE_BYTES_MAX => {
                Err(MappingError::Literal { what, len: text.len() })
            }
            ValueOf::Literal(text) => Ok(BoundValue::Literal(text.clone())),
        };
        Ok(BoundMapping {
            order_key: column(header, &self.order_key)?,
            identity: self.identity.bind(header)?,
            time: column(header, &self.time)?,
            times: TimeReader::new(&self.time_format, self.time_zone.as_deref())?,
            kind: value(&self.kind, "type")?,
            source: value(&self.source, "source")?,
            columns: header.iter().map(|&name| name.to_owned()).collect(),
        })
    }
}

impl Identity {
    fn bind(&self, header: &[&str]) -> Result<BoundIdentity, MappingError> {
        match self {
            Self::IdColumn(name) if name == ROW_NUMBER && !header.contains(&ROW_NUMBER) => {
                Ok(BoundIdentity::RowNumber)
            }
            Self::IdColumn(name) => column(header, name).map(BoundIdentity::Id),
            Self::DedupColumns(DedupColumns::All) => {
                Ok(BoundIdentity::Key((0..header.len()).collect()))
            }
            Self::DedupColumns(DedupColumns::Named(names)) if names.is_empty() => {
                Err(MappingError::NoDedupColumns)
            }
            Self::DedupColumns(DedupColumns::Named(names)) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                if let Some(column) = first_twice(&names) {
                    return Err(MappingError::ColumnTwice { column, place: "the dedup columns" });
                }
                let columns: Result<_, _> = names.iter().map(|name| column(header, name)).collect();
                columns.map(BoundIdentity::Key)
            }
        }
    }
}

fn column(header: &[&str], name: &str) -> Result<usize, MappingError> {
    header.iter().position(|column| *column == name).ok_or_else(|| MappingError::UnknownColumn {
        column: name.to_owned(),
        nearest: nearest(name, header),
        columns: header.iter().map(|&column| column.to_owned()).collect(),
    })
}

fn first_twice(names: &[&str]) -> Option<String> {
    let twice = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name));
    twice.map(|(_, name)| (*name).to_owned())
}

/// The column that `name` is most like, case aside, if it is like any.
fn nearest(name: &str, header: &[&str]) -> Option<String> {
    let name = name.to_lowercase();
    let likeness = |column: &str| strsim::jaro_winkler(&name, &column.to_lowercase());
    header
        .iter()
        .map(|column| (likeness(column), *column))
        .filter(|(likeness, _)| *likeness >= ALIKE_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, column)| column.to_owned())
}
