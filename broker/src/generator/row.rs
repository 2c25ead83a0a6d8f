//! A row of the log.

use jiff::civil::DateTime;

use crate::import::{COLUMNS, row_data};

/// A report, with the columns of the production log ([`COLUMNS`]).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Row {
    /// The production order (`Case ID`).
    pub order: String,
    /// The operation (`Activity`).
    pub operation: &'static str,
    /// The worker (`Resource`).
    pub worker: String,
    /// When it began, local time of the plant.
    pub start: DateTime,
    /// When it ended, local time of the plant; later than `start`.
    pub complete: DateTime,
    /// Good pieces.
    pub good: u32,
    /// Pieces scrapped at once (`Qty_Rejected`).
    pub scrapped: u32,
    /// Pieces sent to the material review board (`Qty_for_MRB`).
    pub review: u32,
    /// `D` done, `S` setup, `B` breakdown.
    pub kind: char,
    /// Whether the pieces were worked on again.
    pub rework: bool,
}

impl Row {
    /// The values in the order of [`COLUMNS`].
    pub fn values(&self) -> [String; 10] {
        let time = |time: DateTime| time.strftime("%Y/%m/%d %H:%M:%S.000").to_string();
        [
            self.order.clone(),
            self.operation.to_owned(),
            self.worker.clone(),
            time(self.start),
            time(self.complete),
            self.good.to_string(),
            self.scrapped.to_string(),
            self.review.to_string(),
            self.kind.to_string(),
            if self.rework { "Y" } else { "" }.to_owned(),
        ]
    }

    /// The data of the event that an import makes of this row: a JSON object of texts.
    pub fn to_json(&self) -> Vec<u8> {
        let values = self.values();
        row_data(COLUMNS.into_iter().zip(values.iter().map(String::as_str)))
    }
}

/// The rows as a CSV file with a header, lines ended by LF.
pub fn to_csv(rows: &[Row]) -> Vec<u8> {
    let mut csv = csv::Writer::from_writer(Vec::with_capacity((rows.len() + 1) * 100));
    csv.write_record(COLUMNS).expect("memory takes every row");
    for row in rows {
        csv.write_record(row.values()).expect("memory takes every row");
    }
    csv.into_inner().expect("memory takes every row")
}
