//! A commit: a header, entries, padding. Its header says to which journal, incarnation and position
//! it belongs, and what was durable when it was sealed.

use xxhash_rust::xxh3::xxh3_128;

use super::{
    layout::{
        BLOCK, COMMIT_HEADER, COMMIT_MAX, ENTRY_HEADER, FORMAT_VERSION, commit as at, field,
        padded, short, wide,
    },
    position::{Chain, Identity, Incarnation, JournalId, Position},
};

/// A commit's header, verified or about to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) position: Position,
    pub(crate) synced_upto: Position,
    pub(crate) chain: Chain,
    pub(crate) entry_count: u32,
    pub(crate) body_len: usize,
    pub(crate) body_hash: [u8; 16],
}

/// Why the bytes at a position are no commit of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mismatch {
    /// They are not, and never were, a commit of this incarnation at this position.
    Foreign,
    /// They say that they are one, but the header's checksum is wrong.
    Header,
    /// The header is good and the body is not.
    Body,
}

impl Header {
    /// Whether the commit is a mark: no entries, only a witness.
    pub(crate) const fn is_mark(&self) -> bool {
        self.entry_count == 0
    }

    /// Header, entries and padding, in bytes.
    pub(crate) const fn total_len(&self) -> usize {
        padded(COMMIT_HEADER + self.body_len)
    }

    /// Where the next commit begins.
    pub(crate) const fn end(&self) -> Position {
        self.position.plus(wide(self.total_len()))
    }

    /// The chain over this commit and all before it. It covers content and places alone, so that
    /// it outlives the copy of a commit into the next incarnation's file.
    pub(crate) fn chain_after(&self) -> Chain {
        let mut link = [0; 40];
        link[..16].copy_from_slice(&self.chain.bytes());
        link[16..24].copy_from_slice(&self.position.get().to_le_bytes());
        link[24..].copy_from_slice(&self.body_hash);
        Chain::new(xxh3_128(&link).to_le_bytes())
    }

    /// Writes the header into the first [`COMMIT_HEADER`] bytes of `out`.
    pub(crate) fn encode(&self, identity: &Identity, out: &mut [u8]) {
        let out = &mut out[..COMMIT_HEADER];
        let flags = if self.is_mark() { at::FLAG_MARK } else { 0 };
        out[at::MAGIC_AT].copy_from_slice(&at::MAGIC);
        out[at::VERSION].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[at::FLAGS].copy_from_slice(&flags.to_le_bytes());
        out[at::BODY_LEN].copy_from_slice(&short(self.body_len).to_le_bytes());
        out[at::TOTAL_LEN].copy_from_slice(&short(self.total_len()).to_le_bytes());
        out[at::ENTRY_COUNT].copy_from_slice(&self.entry_count.to_le_bytes());
        out[at::INCARNATION].copy_from_slice(&identity.incarnation.get().to_le_bytes());
        out[at::JOURNAL_ID].copy_from_slice(&identity.id.bytes());
        out[at::POSITION].copy_from_slice(&self.position.get().to_le_bytes());
        out[at::SYNCED_UPTO].copy_from_slice(&self.synced_upto.get().to_le_bytes());
        out[at::RESERVED].fill(0);
        out[at::CHAIN].copy_from_slice(&self.chain.bytes());
        out[at::BODY_HASH].copy_from_slice(&self.body_hash);
        let checksum = checksum(identity, out);
        out[at::CHECKSUM].copy_from_slice(&checksum);
    }

    /// Verifies a header that should belong to `identity` at `position`. A good header alone
    /// proves its `synced_upto`, whatever became of the body.
    pub(crate) fn decode(
        bytes: &[u8],
        identity: &Identity,
        position: Position,
    ) -> Result<Self, Mismatch> {
        let bytes = &bytes[..COMMIT_HEADER];
        #[cfg(takt_planted)]
        let position = if takt_protocol::planted::is("stale_commit_accepted") {
            Position::new(u64::from_le_bytes(field(bytes, at::POSITION)))
        } else {
            position
        };
        if bytes[at::MAGIC_AT] != at::MAGIC
            || JournalId::new(field(bytes, at::JOURNAL_ID)) != identity.id
            || Incarnation::new(u32::from_le_bytes(field(bytes, at::INCARNATION)))
                != identity.incarnation
            || Position::new(u64::from_le_bytes(field(bytes, at::POSITION))) != position
        {
            return Err(Mismatch::Foreign);
        }
        if field(bytes, at::CHECKSUM) != checksum(identity, bytes) {
            return Err(Mismatch::Header);
        }
        let header = Self {
            position,
            synced_upto: Position::new(u64::from_le_bytes(field(bytes, at::SYNCED_UPTO))),
            chain: Chain::new(field(bytes, at::CHAIN)),
            entry_count: u32::from_le_bytes(field(bytes, at::ENTRY_COUNT)),
            body_len: u32::from_le_bytes(field(bytes, at::BODY_LEN)) as usize,
            body_hash: field(bytes, at::BODY_HASH),
        };
        let total_len = u32::from_le_bytes(field(bytes, at::TOTAL_LEN)) as usize;
        let sound = u16::from_le_bytes(field(bytes, at::VERSION)) == FORMAT_VERSION
            && total_len <= COMMIT_MAX
            && header.body_len <= COMMIT_MAX - COMMIT_HEADER
            && total_len == header.total_len()
            && header.synced_upto <= position;
        if sound { Ok(header) } else { Err(Mismatch::Header) }
    }
}

/// The salt comes first: who does not know it cannot make a header that verifies.
fn checksum(identity: &Identity, header: &[u8]) -> [u8; 16] {
    let mut salted = [0; 16 + at::CHECKSUM.start];
    salted[..16].copy_from_slice(&identity.salt.0);
    #[cfg(takt_planted)]
    if takt_protocol::planted::is("salt_omitted") {
        salted[..16].fill(0);
    }
    salted[16..].copy_from_slice(&header[..at::CHECKSUM.start]);
    xxh3_128(&salted).to_le_bytes()
}

/// xxh3-128 of all behind a commit's header.
pub(crate) fn body_hash(commit: &[u8]) -> [u8; 16] {
    xxh3_128(&commit[COMMIT_HEADER..]).to_le_bytes()
}

/// A verified commit in a buffer.
#[derive(Clone, Copy, Debug)]
pub struct CommitRef<'a> {
    pub(crate) header: Header,
    pub(crate) bytes: &'a [u8],
}

impl<'a> CommitRef<'a> {
    /// Verifies the body behind a verified header; `bytes` is the whole commit.
    pub(crate) fn verify(header: Header, bytes: &'a [u8]) -> Result<Self, Mismatch> {
        debug_assert_eq!(bytes.len(), header.total_len());
        if body_hash(bytes) != header.body_hash {
            return Err(Mismatch::Body);
        }
        let commit = Self { header, bytes };
        let mut entries = commit.entries();
        let count = entries.by_ref().count();
        if entries.rest.is_empty() && count == header.entry_count as usize {
            Ok(commit)
        } else {
            Err(Mismatch::Body)
        }
    }

    /// Where the commit begins.
    pub const fn position(&self) -> Position {
        self.header.position
    }

    /// Where the next one begins.
    pub const fn end(&self) -> Position {
        self.header.end()
    }

    /// What was durable when it was sealed (exclusive).
    pub const fn synced_upto(&self) -> Position {
        self.header.synced_upto
    }

    /// The chain over all commits before it.
    pub const fn chain(&self) -> Chain {
        self.header.chain
    }

    /// Whether it only witnesses what was durable before it: it has no entries.
    pub const fn is_mark(&self) -> bool {
        self.header.is_mark()
    }

    /// Its entries, in the order in which they were pushed.
    pub fn entries(&self) -> Entries<'a> {
        let end = COMMIT_HEADER + self.header.body_len;
        let rest = &self.bytes[COMMIT_HEADER..end];
        Entries { rest, at: self.header.position.plus(wide(COMMIT_HEADER)) }
    }
}

/// One entry; its meaning is the caller's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// What it is.
    pub kind: u8,
    /// Where its bytes begin: what [`super::Reader::read`] takes.
    pub position: Position,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// The entries of a commit.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
    at: Position,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    /// Stops where the entries do; at bytes that are no entry it stops with some of them left.
    fn next(&mut self) -> Option<Entry<'a>> {
        let (head, rest) = self.rest.split_at_checked(ENTRY_HEADER)?;
        let len = u32::from_le_bytes(field(head, 1..ENTRY_HEADER)) as usize;
        let (bytes, rest) = rest.split_at_checked(len)?;
        let position = self.at.plus(wide(ENTRY_HEADER));
        self.rest = rest;
        self.at = position.plus(wide(len));
        Some(Entry { kind: head[0], position, bytes })
    }
}

const _: () = assert!(BLOCK > COMMIT_HEADER, "a mark is one block");
