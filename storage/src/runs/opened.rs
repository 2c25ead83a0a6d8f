//! The open file of a run: its head is verified, its sections are found.

use std::{io, ops::Range};

use xxhash_rust::xxh3::xxh3_128;

use super::{
    error::RunError,
    header::{self, Header, HeaderError, LEN_V1, Layout, Section, Version},
    info::RunInfo,
};
use crate::{
    disk::{AlignedBuf, Disk, DiskFile},
    journal::JournalId,
};

/// The file, with the name for its errors.
#[derive(Debug)]
pub(super) struct Source {
    name: String,
    file: Box<dyn DiskFile>,
}

impl Source {
    pub(super) fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), RunError> {
        self.file.read_at(at, bytes).map_err(|error| self.io(error))
    }

    /// What [`Source::read`] will be asked for soon.
    pub(super) fn prefetch(&self, at: u64, len: usize) {
        self.file.prefetch(at, len as u64);
    }

    /// What is not read again soon; says where in `buffer` it is.
    pub(super) fn read_once(
        &self,
        at: u64,
        len: usize,
        buffer: &mut AlignedBuf,
    ) -> Result<Range<usize>, RunError> {
        self.file.read_once(at, len, buffer).map_err(|error| self.io(error))
    }

    /// What [`Source::read_once`] will be asked for next.
    pub(super) fn read_ahead(&self, at: u64, len: usize) {
        self.file.read_ahead(at, len);
    }

    fn read_vec(&self, at: u64, len: u64) -> Result<Vec<u8>, RunError> {
        let len = usize::try_from(len).map_err(|_| self.corrupt("its counts are too large"))?;
        let mut bytes = vec![0; len];
        self.read(at, &mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn corrupt(&self, what: &'static str) -> RunError {
        RunError::Corrupt { name: self.name.clone(), what }
    }

    fn io(&self, error: io::Error) -> RunError {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            self.corrupt("it is too short")
        } else {
            RunError::Io { name: self.name.clone(), error }
        }
    }
}

/// A run whose header and fences are those that the manifest vouches for.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) source: Source,
    pub(super) header: Header,
    layout: Layout,
    fences: Vec<u8>,
}

/// Where a section is, and the bytes of its fences.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) at: u64,
    pub(super) rows: u64,
    pub(super) rows_per_block: usize,
    pub(super) fences: &'a [u8],
}

impl Opened {
    /// Opens the file `name` of the run that the manifest of `journal` names.
    pub(super) fn open(
        disk: &dyn Disk,
        name: String,
        journal: JournalId,
        info: &RunInfo,
    ) -> Result<Self, RunError> {
        let file = match disk.open(&name, false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RunError::Missing { name });
            }
            Err(error) => return Err(RunError::Io { name, error }),
        };
        let source = Source { name, file };
        let header = read_header(&source, journal, info)?;
        let layout = header.layout().ok_or_else(|| source.corrupt("its counts are too large"))?;
        // Before anything of that length is allocated.
        if source.file.len().map_err(|error| source.io(error))? != layout.end {
            return Err(source.corrupt("its length is wrong"));
        }
        let fences = source.read_vec(layout.fences, layout.filters - layout.fences)?;
        if xxh3_128(&fences) != header.fences_hash {
            return Err(source.corrupt("the checksum of its fences is wrong"));
        }
        Ok(Self { source, header, layout, fences })
    }

    pub(super) fn part(&self, section: Section) -> Part<'_> {
        let index = section as usize;
        let before: usize = self.layout.fence_lens[..index].iter().sum();
        Part {
            at: self.layout.sections[index],
            rows: self.header.counts.array()[index],
            rows_per_block: section.rows_per_block(self.header.version),
            fences: &self.fences[before..before + self.layout.fence_lens[index]],
        }
    }

    /// The bytes of the filters, verified: the ledger's, and the heads'. `None` in version 1.
    pub(super) fn filters(&self) -> Result<Option<[Vec<u8>; 2]>, RunError> {
        if self.header.version == Version::V1 {
            return Ok(None);
        }
        let mut bytes =
            self.source.read_vec(self.layout.filters, self.layout.end - self.layout.filters)?;
        if xxh3_128(&bytes) != self.header.filters.hash {
            return Err(self.source.corrupt("the checksum of its filters is wrong"));
        }
        let [ledger, _] = self.header.filters.lens;
        let heads = bytes.split_off(usize::try_from(ledger).unwrap_or(usize::MAX));
        Ok(Some([bytes, heads]))
    }
}

fn read_header(source: &Source, journal: JournalId, info: &RunInfo) -> Result<Header, RunError> {
    let what = |error| match error {
        HeaderError::Damaged => source.corrupt("its header is damaged"),
        HeaderError::Version(version) => RunError::Version { name: source.name.clone(), version },
    };
    let mut bytes = vec![0; header::LEN];
    source.read(0, &mut bytes[..LEN_V1])?;
    let first = bytes.first_chunk().expect("a header is longer");
    let (version, len) = Header::version(first).map_err(what)?;
    bytes.truncate(len);
    source.read(LEN_V1 as u64, &mut bytes[LEN_V1..])?;
    let (header, checksum) = Header::decode(&bytes, version).map_err(what)?;
    let named = RunInfo {
        start: header.start,
        end: header.end,
        incarnation: header.incarnation,
        checksum,
        counts: header.counts,
    };
    if named != *info || header.journal != journal {
        return Err(source.corrupt("it is another run than the one that the manifest names"));
    }
    Ok(header)
}
