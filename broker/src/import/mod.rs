//! Events out of CSV files: what a MES that knows no broker can always give.
//!
//! A [`CsvMapping`] says which columns are what. It is bound to the header row once, and from then
//! on each data row is either one whole event or one [`RowError`] with its line: never half an
//! event, and never an event under an identity that the user did not choose.
//!
//! - The data of an event is its row as a JSON object of texts, all columns in their order.
//! - With [`Identity::IdColumn`] a column is the event's `id`; source and id are the dedup key.
//! - With [`Identity::DedupColumns`] the dedup key is the chosen values themselves, each behind its
//!   length: no hash stands between two rows and the claim that they are the same report. A row
//!   that repeats these and differs elsewhere has the same key and another digest: a conflict.
//!   Source and id could not say that: the id is an attribute, which is short and readable text,
//!   and here it is a digest of the key. The source is no part of such a key, so that a second
//!   adapter, or an operator with yesterday's file, meets the first.
//! - Times without an offset need a zone. A time that a change of the clocks makes ambiguous, or
//!   skips, is kept and reported.

mod columns;
mod mapping;
mod row;
mod rows;
mod summary;
mod times;

#[cfg(test)]
mod tests;

pub use columns::{COLUMNS, Report, ReportError, ReportKind, TIME_FORMAT, production_mapping};
pub use mapping::{
    BoundMapping, CsvMapping, DedupColumns, Identity, MappingError, ROW_NUMBER, ValueOf,
};
pub use row::{Imported, RowError, RowProblem};
pub use rows::{ROW_BYTES_MAX, ReadError, Rows};
pub use summary::{LIST_MAX, LineAt, LineList, LineText, Summary};
pub use times::{AmbiguousTime, TimeError, TimeFormatError, TimeKind, TimeReader};

pub(crate) use row::row_data;
