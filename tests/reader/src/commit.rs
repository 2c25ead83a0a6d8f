//! A commit: header, entries, padding.

use xxhash_rust::xxh3::xxh3_128;

use crate::{
    input::{Input, Why, ensure, wide},
    preamble::{BLOCK, Preamble},
};

const HEADER: usize = 112;
const CHECKSUM_AT: usize = 96;
const COMMIT_MAX: u64 = 1 << 20;
const FLAG_MARK: u16 = 1;

/// What lies at a position.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Found<'a> {
    /// A header of this file at its place.
    Header(Header<'a>),
    /// What says to be one, with a wrong checksum or field.
    Torn,
    /// Something else.
    Foreign,
}

/// A verified header; the body is verified by [`Header::body`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header<'a> {
    pub(crate) position: u64,
    /// Where the next commit begins.
    pub(crate) end: u64,
    pub(crate) synced_upto: u64,
    /// Over the commits before this one.
    pub(crate) chain: [u8; 16],
    entry_count: u32,
    body_len: u64,
    body_hash: [u8; 16],
    /// From the header on.
    bytes: &'a [u8],
}

/// One entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawEntry<'a> {
    pub(crate) kind: u8,
    /// Of its bytes.
    pub(crate) position: u64,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Header<'a> {
    /// Reads what is at `position`, where `bytes` begin.
    pub(crate) fn find(bytes: &'a [u8], file: &Preamble<'_>, position: u64) -> Found<'a> {
        let Some((head, _)) = bytes.split_at_checked(HEADER) else { return Found::Foreign };
        let mut ours = [0; 24];
        let (incarnation, rest) = ours.split_at_mut(4);
        let (journal, _) = rest.split_at_mut(16);
        incarnation.copy_from_slice(&file.incarnation.to_le_bytes());
        journal.copy_from_slice(&file.journal);
        let claims = head.starts_with(b"TkC\x01")
            && head.get(20..40) == ours.get(..20)
            && head.get(40..48) == Some(&position.to_le_bytes());
        if !claims {
            return Found::Foreign;
        }
        Self::read(bytes, head, file, position).map_or(Found::Torn, Found::Header)
    }

    fn read(bytes: &'a [u8], head: &[u8], file: &Preamble<'_>, position: u64) -> Result<Self, Why> {
        let (fields, checksum) = head.split_at(CHECKSUM_AT);
        let mut salted = [0; 16 + CHECKSUM_AT];
        let (salt, rest) = salted.split_at_mut(16);
        salt.copy_from_slice(&file.salt);
        rest.copy_from_slice(fields);
        ensure(xxh3_128(&salted).to_le_bytes() == checksum, "its checksum is wrong")?;

        let mut input = Input::new(fields);
        input.take(4)?;
        ensure(input.u16()? == 1, "its format version is not known")?;
        let flags = input.u16()?;
        let (body_len, total_len) = (u64::from(input.u32()?), u64::from(input.u32()?));
        let entry_count = input.u32()?;
        input.take(4 + 16 + 8)?;
        let synced_upto = input.u64()?;
        ensure(input.u64()? == 0, "a reserved field is used")?;
        let (chain, body_hash) = (input.array()?, input.array()?);
        // A commit without entries only witnesses.
        let mark = entry_count == 0;
        let whole = (wide(HEADER) + body_len).next_multiple_of(wide(BLOCK));
        ensure(total_len == whole && total_len <= COMMIT_MAX, "its lengths do not add up")?;
        ensure(flags == if mark { FLAG_MARK } else { 0 }, "its flags are wrong")?;
        ensure(synced_upto <= position, "it witnesses what is behind it")?;
        let end = position + total_len;
        Ok(Self { position, end, synced_upto, chain, entry_count, body_len, body_hash, bytes })
    }

    /// Verifies the body and returns the entries.
    pub(crate) fn body(&self) -> Result<Entries<'a>, Why> {
        let commit = Input::new(self.bytes).take(self.end - self.position)?;
        let body = commit.get(HEADER..).unwrap_or_default();
        let hash = xxh3_128(body).to_le_bytes();
        ensure(hash == self.body_hash, "the checksum of a commit's body is wrong")?;
        let mut input = Input::new(body);
        let entries = Input::new(input.take(self.body_len)?);
        let entries = Entries { input: entries, position: self.position + wide(HEADER) };
        let mut count = 0;
        let mut rest = entries;
        while rest.next()?.is_some() {
            count += 1;
        }
        ensure(count == self.entry_count, "a commit's entries are not as many as it says")?;
        Ok(entries)
    }

    /// Over this commit and all before it: content and places, nothing of the incarnation.
    pub(crate) fn chain_after(&self) -> [u8; 16] {
        let mut link = [0; 40];
        let (chain, rest) = link.split_at_mut(16);
        let (position, hash) = rest.split_at_mut(8);
        chain.copy_from_slice(&self.chain);
        position.copy_from_slice(&self.position.to_le_bytes());
        hash.copy_from_slice(&self.body_hash);
        xxh3_128(&link).to_le_bytes()
    }
}

/// The entries of a commit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entries<'a> {
    input: Input<'a>,
    position: u64,
}

impl<'a> Entries<'a> {
    /// The next one; `None` behind the last.
    pub(crate) fn next(&mut self) -> Result<Option<RawEntry<'a>>, Why> {
        if self.input.rest().is_empty() {
            return Ok(None);
        }
        let kind = self.input.u8()?;
        let len = self.input.u32()?;
        let bytes = self.input.take(u64::from(len))?;
        let position = self.position + 5;
        self.position = position + wide(bytes.len());
        Ok(Some(RawEntry { kind, position, bytes }))
    }
}
