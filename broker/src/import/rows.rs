//! The rows of a CSV file, one after the other, in bounded memory.

use std::io::{self, Read};

use csv::{ByteRecord, ReaderBuilder};

use super::mapping::{BoundMapping, CsvMapping, MappingError};
use super::row::{Imported, RowError, RowProblem};

/// The largest row that is read at all. Only a quote that is never closed makes a larger one.
pub const ROW_BYTES_MAX: usize = 4 << 20;

/// Why reading ends before the file does. What was handed out before is whole.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file has no header row.
    #[error("the file is empty: it must begin with a header row")]
    Empty,
    /// The header row is not UTF-8.
    #[error("the header row is not UTF-8")]
    HeaderEncoding,
    /// The columns are not those of the mapping.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// A row does not end.
    #[error("line {line}: a row of over {ROW_BYTES_MAX} bytes; is a quote never closed?")]
    RowTooLong {
        /// The line that it begins in, from 1.
        line: u64,
    },
    /// The file cannot be read.
    #[error("line {line}: {source}")]
    Io {
        /// The line that could not be read, from 1.
        line: u64,
        /// What the system said.
        source: io::Error,
    },
}

/// An iterator over the rows of a CSV file. The outer error ends it; the inner one is of one row.
#[derive(Debug)]
pub struct Rows<R> {
    csv: csv::Reader<Tracked<R>>,
    mapping: BoundMapping,
    record: ByteRecord,
    number: u64,
    ended: bool,
}

impl<R: Read> Rows<R> {
    /// Reads the header row and looks the columns of `mapping` up in it. A byte order mark is
    /// skipped.
    ///
    /// # Errors
    /// [`ReadError`] where the file has no header, or none that fits.
    pub fn new(file: R, mapping: &CsvMapping) -> Result<Self, ReadError> {
        let mut csv = ReaderBuilder::new()
            .delimiter(mapping.delimiter)
            .flexible(true)
            .has_headers(false)
            .from_reader(Tracked::new(file));
        let mut record = ByteRecord::new();
        if !read(&mut csv, &mut record)? {
            return Err(ReadError::Empty);
        }
        let header: Result<Vec<&str>, _> = record.iter().map(std::str::from_utf8).collect();
        let mapping = mapping.bind(&header.map_err(|_| ReadError::HeaderEncoding)?)?;
        Ok(Self { csv, mapping, record, number: 0, ended: false })
    }

    fn row(&self, line: u64) -> Result<Imported, RowError> {
        let error = |what| RowError { line, what };
        if self.is_unclosed() {
            return Err(error(RowProblem::Unclosed));
        }
        let (found, expected) = (self.record.len(), self.mapping.columns.len());
        if found != expected {
            return Err(error(RowProblem::Fields { found, expected }));
        }
        let mut fields = Vec::with_capacity(found);
        for (column, field) in self.mapping.columns.iter().zip(&self.record) {
            let field = std::str::from_utf8(field);
            let wrong = |_| error(RowProblem::Encoding { column: column.clone() });
            fields.push(field.map_err(wrong)?);
        }
        let (event, ambiguous_time) = self.mapping.event(self.number, &fields).map_err(error)?;
        Ok(Imported { line, number: self.number, event, ambiguous_time })
    }

    /// Whether the file has ended within a quoted field that goes over lines: it has taken the rows
    /// behind it for its own.
    fn is_unclosed(&self) -> bool {
        let file = self.csv.get_ref();
        let last = self.record.iter().next_back().unwrap_or_default();
        file.at_end && last.contains(&b'\n') && file.chunk.last() != Some(&b'"')
    }
}

impl<R: Read> Iterator for Rows<R> {
    type Item = Result<Result<Imported, RowError>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match read(&mut self.csv, &mut self.record) {
            Ok(true) => {
                self.number += 1;
                let line = first_line(&self.csv, &self.record);
                Some(Ok(self.row(line)))
            }
            Ok(false) => {
                self.ended = true;
                None
            }
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
        }
    }
}

fn read<R: Read>(
    csv: &mut csv::Reader<Tracked<R>>,
    record: &mut ByteRecord,
) -> Result<bool, ReadError> {
    csv.get_mut().left = ROW_BYTES_MAX;
    let line = csv.position().line();
    let result = csv.read_byte_record(record);
    result.map_err(|error| match csv.get_ref().left {
        0 => ReadError::RowTooLong { line },
        _ => ReadError::Io { line, source: error.into() },
    })
}

/// The line that a record begins in. The csv reader's own count stands at the line before where
/// lines end in CR LF, or where empty lines come before the record; its count at the record's end
/// does not, but for the last LF, which it may or may not have taken yet.
fn first_line<R: Read>(csv: &csv::Reader<Tracked<R>>, record: &ByteRecord) -> u64 {
    let end = csv.position();
    let end_taken = csv.get_ref().byte_before(end.byte()) == Some(b'\n');
    let newlines = |field: &[u8]| field.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
    let inside: u64 = record.iter().map(newlines).sum();
    let first = end.line() - u64::from(end_taken);
    let begin = record.position().map_or(1, csv::Position::line);
    first.saturating_sub(inside).max(begin)
}

/// Limits what one row may take, and keeps the last chunk read to look back into.
#[derive(Debug)]
struct Tracked<R> {
    file: R,
    chunk: Vec<u8>,
    chunk_start: u64,
    left: usize,
    at_end: bool,
}

impl<R> Tracked<R> {
    fn new(file: R) -> Self {
        Self { file, chunk: Vec::new(), chunk_start: 0, left: ROW_BYTES_MAX, at_end: false }
    }

    /// The byte before the absolute position `at`, if it is of the last chunk.
    fn byte_before(&self, at: u64) -> Option<u8> {
        let index = at.checked_sub(self.chunk_start)?.checked_sub(1)?;
        self.chunk.get(usize::try_from(index).ok()?).copied()
    }
}

impl<R: Read> Read for Tracked<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other("the row is too long"));
        }
        let room = buf.len().min(self.left);
        let len = self.file.read(&mut buf[..room])?;
        self.at_end = len == 0;
        if len > 0 {
            self.chunk_start += self.chunk.len() as u64;
            self.chunk.clear();
            self.chunk.extend_from_slice(&buf[..len]);
            self.left -= len;
        }
        Ok(len)
    }
}
