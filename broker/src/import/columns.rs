//! The columns of the production log that Takt is shown with, and a row of it as numbers.

use serde::{Deserialize, Deserializer, de};

use super::mapping::{CsvMapping, Identity, ValueOf};

/// The columns, in order.
pub const COLUMNS: [&str; 10] = [
    "Case ID",
    "Activity",
    "Resource",
    "Start Timestamp",
    "Complete Timestamp",
    "Qty_Completed",
    "Qty_Rejected",
    "Qty_for_MRB",
    "Report_Type",
    "Rework",
];
/// How its times are written.
pub const TIME_FORMAT: &str = "%Y/%m/%d %H:%M:%S%.f";

/// How the production log is imported: the order key is the production order, the time that of
/// completion. The log says no zone, so `time_zone` must.
pub fn production_mapping(source: &str, identity: Identity, time_zone: &str) -> CsvMapping {
    CsvMapping {
        order_key: COLUMNS[0].to_owned(),
        identity,
        time: COLUMNS[4].to_owned(),
        time_format: TIME_FORMAT.to_owned(),
        time_zone: Some(time_zone.to_owned()),
        kind: ValueOf::Literal("mfg.operation.reported.v1".to_owned()),
        source: ValueOf::Literal(source.to_owned()),
        delimiter: b',',
    }
}

/// What a report says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ReportKind {
    /// Pieces were made.
    #[serde(rename = "D")]
    Done,
    /// The machine was set up.
    #[serde(rename = "S")]
    Setup,
    /// The machine broke down.
    #[serde(rename = "B")]
    Breakdown,
}

/// A report of the shop floor.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Report {
    /// The production order.
    #[serde(rename = "Case ID")]
    pub order: String,
    /// The operation.
    #[serde(rename = "Activity")]
    pub operation: String,
    /// The worker.
    #[serde(rename = "Resource")]
    pub worker: String,
    /// What it says.
    #[serde(rename = "Report_Type")]
    pub kind: ReportKind,
    /// Good pieces (`Qty_Completed`).
    #[serde(rename = "Qty_Completed", deserialize_with = "pieces")]
    pub good: u32,
    /// Pieces sent to the material review board (`Qty_for_MRB`; `Qty_Rejected` is no part of it).
    #[serde(rename = "Qty_for_MRB", deserialize_with = "pieces")]
    pub rejected: u32,
    /// Whether the pieces were worked on again.
    #[serde(rename = "Rework", deserialize_with = "yes")]
    pub rework: bool,
}

/// The data of an event is no report.
#[derive(Debug, thiserror::Error)]
#[error("no report of the production log: {0}")]
pub struct ReportError(#[from] serde_json::Error);

impl Report {
    /// Reads the data of an event that came from a production log.
    ///
    /// # Errors
    /// [`ReportError`] where a column is missing or a quantity is no number.
    pub fn from_data(data: &[u8]) -> Result<Self, ReportError> {
        Ok(serde_json::from_slice(data)?)
    }
}

fn pieces<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
    text.parse().map_err(|_| de::Error::custom(format_args!("{text:?} is no number of pieces")))
}

fn yes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
    match &*text {
        "Y" => Ok(true),
        "" => Ok(false),
        other => Err(de::Error::custom(format_args!("{other:?} is neither Y nor empty"))),
    }
}
