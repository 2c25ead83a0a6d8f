//! The journal files of a directory, put in order, each with the commits that belong to it.

use std::collections::BTreeMap;

use crate::{
    commit::{Entries, Found, Header},
    entry::Entry,
    error::ReadError,
    input::{Why, ensure, wide},
    preamble::Preamble,
    snapshot,
    state::State,
    tail::Tail,
};

/// A journal, verified commit by commit.
#[derive(Debug)]
pub(crate) struct Journal<'a> {
    /// Oldest first; at least one.
    pub(crate) files: Vec<JournalFile<'a>>,
    pub(crate) tail: Tail,
}

/// A journal file that counts.
#[derive(Debug)]
pub(crate) struct JournalFile<'a> {
    pub(crate) name: &'a str,
    pub(crate) preamble: Preamble<'a>,
    pub(crate) commits: Vec<Commit<'a>>,
    /// Where it ends for ever.
    pub(crate) end: u64,
    /// The next file in the list is the one that follows.
    pub(crate) linked: bool,
    /// Why there is no further commit.
    pub(crate) stopped: Option<Why>,
    /// Over all commits up to the end.
    pub(crate) chain: [u8; 16],
    bytes: &'a [u8],
}

/// A verified commit.
#[derive(Debug)]
pub(crate) struct Commit<'a> {
    pub(crate) header: Header<'a>,
    pub(crate) entries: Entries<'a>,
}

impl<'a> Journal<'a> {
    pub(crate) fn collect(directory: &'a BTreeMap<String, Vec<u8>>) -> Result<Self, ReadError> {
        let mut files = Vec::new();
        for (name, bytes) in directory {
            if let Some(named) = parse_name(name) {
                files.push(JournalFile::open(name, named, bytes)?);
            }
        }
        files.sort_by_key(|file| (file.preamble.incarnation, file.preamble.start));
        check_order(&files)?;
        // A file that starts where the next one does was superseded before it held anything.
        let starts: Vec<u64> = files.iter().skip(1).map(|file| file.preamble.start).collect();
        let mut next = starts.into_iter();
        files.retain(|file| next.next() != Some(file.preamble.start));

        let newest = directory.keys().filter_map(|name| parse_newest(name)).max();
        let found = files.last().map(|last| (last.preamble.incarnation, last.preamble.start));
        if let Some((incarnation, start)) = newest.filter(|_| found < newest) {
            let file = name_of("journal", start, incarnation, "log");
            return Err(ReadError::NewestMissing { file });
        }
        let last = files.last_mut().ok_or(ReadError::NoJournal)?;
        last.walk(u64::MAX);
        let tail = Tail::of(last)?;
        let sealed = sealed_ends(last)?;
        let follows: Vec<_> = files.iter().skip(1).map(JournalFile::follows).collect();
        for (file, follows) in files.iter_mut().zip(follows) {
            file.close(follows, &sealed)?;
        }
        Ok(Self { files, tail })
    }

    pub(crate) fn last(&self) -> &JournalFile<'a> {
        self.files.last().expect("a journal has a file")
    }
}

/// What a preamble says of the file before its own.
#[derive(Debug, Clone, Copy)]
struct Follows {
    start: u64,
    chain: [u8; 16],
    previous: Option<(u64, u32)>,
}

impl<'a> JournalFile<'a> {
    fn open(name: &'a str, named: (u64, u32), bytes: &'a [u8]) -> Result<Self, ReadError> {
        let preamble = Preamble::read(bytes).and_then(|preamble| {
            let found = (preamble.start, preamble.incarnation);
            ensure(found == named, "its content is of another file").map(|()| preamble)
        });
        let bad = |why: Why| ReadError::Preamble { file: name.to_owned(), why: why.0 };
        let preamble = preamble.map_err(bad)?;
        Ok(Self {
            name,
            commits: Vec::new(),
            end: preamble.start,
            linked: false,
            stopped: None,
            chain: preamble.chain,
            bytes,
            preamble,
        })
    }

    /// The state at its start.
    pub(crate) fn snapshot(&self) -> Result<State<'a>, ReadError> {
        let bad = |why: Why| ReadError::Snapshot { file: self.name.to_owned(), why: why.0 };
        snapshot::read(self.preamble.snapshot).map_err(bad)
    }

    fn follows(&self) -> Follows {
        let Preamble { start, chain, previous, .. } = self.preamble;
        Follows { start, chain, previous }
    }

    /// The bytes from a position on, up to the file's end.
    pub(crate) fn at(&self, position: u64) -> &'a [u8] {
        let offset = usize::try_from(position - self.preamble.start).unwrap_or(usize::MAX);
        let offset = offset.saturating_add(self.preamble.len);
        self.bytes.get(offset..).unwrap_or_default()
    }

    /// The position behind the last byte that the file can hold.
    pub(crate) fn limit(&self) -> u64 {
        self.preamble.start + wide(self.bytes.len() - self.preamble.len)
    }

    /// Damage of it at a position, below what was durable.
    pub(crate) fn damaged(&self, position: u64, why: &'static str) -> ReadError {
        ReadError::Damaged { file: self.name.to_owned(), position, why }
    }

    /// A file ends where the next one starts. Where that one is missing, it ends where it was
    /// sealed: commits may lie behind that, which a start has copied into the missing file.
    fn close(&mut self, next: Follows, sealed: &BTreeMap<u64, u64>) -> Result<(), ReadError> {
        self.linked = next.previous == Some((self.preamble.start, self.preamble.incarnation));
        let sealed = sealed.get(&self.preamble.start).copied();
        let known = if self.linked { Some(next.start) } else { sealed };
        self.walk(known.unwrap_or(next.start).min(next.start));
        match (known, self.stopped) {
            (Some(_), Some(why)) => Err(self.damaged(self.end, why.0)),
            (Some(_), None) if self.linked && self.chain != next.chain => {
                Err(self.damaged(self.end, "it does not hold what the next file continues"))
            }
            // Neither followed nor sealed: dropped without batches, or what follows is missing.
            (None, _) | (Some(_), None) => Ok(()),
        }
    }

    /// Takes commits up to `upto`, or to the first place without one that belongs.
    fn walk(&mut self, upto: u64) {
        while self.end < upto && self.stopped.is_none() {
            match self.commit_at(self.end, upto) {
                Ok(commit) => {
                    self.end = commit.header.end;
                    self.chain = commit.header.chain_after();
                    self.commits.push(commit);
                }
                Err(why) => self.stopped = Some(why),
            }
        }
    }

    fn commit_at(&self, position: u64, upto: u64) -> Result<Commit<'a>, Why> {
        let header = match Header::find(self.at(position), &self.preamble, position) {
            Found::Header(header) => header,
            Found::Torn => return Err(Why("the header of a commit is damaged")),
            Found::Foreign => return Err(Why("there is no commit of this file")),
        };
        ensure(header.chain == self.chain, "a commit does not continue the ones before it")?;
        ensure(header.end <= upto, "a commit reaches into the next file")?;
        Ok(Commit { header, entries: header.body()? })
    }
}

/// Where files end that were sealed, as the newest file knows it.
fn sealed_ends(newest: &JournalFile<'_>) -> Result<BTreeMap<u64, u64>, ReadError> {
    let files = newest.snapshot()?.manifest.files;
    let mut ends: BTreeMap<_, _> = files.values().map(|file| (file.start, file.end)).collect();
    for commit in &newest.commits {
        let mut entries = commit.entries;
        // What is no entry is found when it is applied.
        while let Ok(Some(entry)) = entries.next() {
            if let Ok(Some(file)) = Entry::sealed_file(&entry) {
                ends.insert(file.start, file.end);
            }
        }
    }
    Ok(ends)
}

/// Files sorted by incarnation must be sorted by start too, and of one journal.
fn check_order(files: &[JournalFile<'_>]) -> Result<(), ReadError> {
    for (before, file) in files.iter().zip(files.iter().skip(1)) {
        let name = || file.name.to_owned();
        if file.preamble.journal != before.preamble.journal {
            return Err(ReadError::OtherJournal { file: name() });
        }
        if file.preamble.start < before.preamble.start {
            return Err(ReadError::Order { file: name() });
        }
    }
    Ok(())
}

/// The name of a file of a kind: `<kind>-<start>-<incarnation>.<ending>`, in lower-case hex.
pub(crate) fn name_of(kind: &str, start: u64, incarnation: u32, ending: &str) -> String {
    format!("{kind}-{start:016x}-{incarnation:08x}.{ending}")
}

fn parse_name(name: &str) -> Option<(u64, u32)> {
    let (start, incarnation) =
        name.strip_prefix("journal-")?.strip_suffix(".log")?.split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    let incarnation = u32::from_str_radix(incarnation, 16).ok()?;
    (name_of("journal", start, incarnation, "log") == name).then_some((start, incarnation))
}

/// Incarnation and start: in the order of the files.
fn parse_newest(name: &str) -> Option<(u32, u64)> {
    let (start, incarnation) = name.strip_prefix("newest-")?.split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    let incarnation = u32::from_str_radix(incarnation, 16).ok()?;
    (format!("newest-{start:016x}-{incarnation:08x}") == name).then_some((incarnation, start))
}
