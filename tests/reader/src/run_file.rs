//! The file of a run, of one journal file or merged: header, sections, fences, filters.

use xxhash_rust::xxh3::xxh3_128;

use crate::{
    filter::Filter,
    input::{Input, Why, ensure},
    manifest::Run,
    section::{self, SECTIONS},
};

/// Length of the header without its checksum, by version.
const SEALED: [u64; 2] = [112, 152];

/// A run whose every byte was verified.
#[derive(Debug)]
pub(crate) struct RunFile<'a> {
    pub(crate) sections: [&'a [u8]; 6],
    /// How many order keys begin in what it covers; version 1 does not say.
    pub(crate) new_orders: Option<u64>,
}

impl<'a> RunFile<'a> {
    /// Reads the run of `journal` that the manifest names.
    pub(crate) fn read(bytes: &'a [u8], journal: &[u8; 16], run: &Run) -> Result<Self, Why> {
        let mut input = Input::new(bytes);
        ensure(input.array()? == *b"TAKTRUN\n", "it is no run")?;
        let version = input.u16()?;
        let sealed = usize::from(version).checked_sub(1).and_then(|known| SEALED.get(known));
        let sealed = *sealed.ok_or(Why("its format version is not known"))?;
        let seal = xxh3_128(Input::new(bytes).take(sealed)?);
        ensure(input.u16()? == 0, "a reserved field is used")?;
        let incarnation = input.u32()?;
        let of_journal = input.array()?;
        let covers = (input.u64()?, input.u64()?, incarnation);
        let mut rows = [0; 6];
        for count in &mut rows {
            *count = input.u64()?;
        }
        let fences_hash = input.u128()?;
        let keys = if version == 1 { None } else { Some(Keys::read(&mut input)?) };
        ensure(input.u128()? == seal, "the checksum of its header is wrong")?;
        ensure(seal == run.checksum, "it is not the run that the manifest names")?;
        ensure(of_journal == *journal, "it is of another journal")?;
        ensure(covers == (run.start, run.end, run.incarnation), "it covers another file")?;
        ensure(rows == run.rows, "its rows are not as many as the manifest says")?;

        let sections = section::take(&mut input, &rows)?;
        let fences = input.take(section::fences_len(&rows, version)?)?;
        ensure(xxh3_128(fences) == fences_hash, "the checksum of its fences is wrong")?;
        let mut fences = Input::new(fences);
        for (layout, rows) in SECTIONS.iter().zip(sections) {
            layout.check(rows, version, &mut fences)?;
        }
        fences.end()?;
        if let Some(keys) = &keys {
            keys.check(&mut input, &sections)?;
        }
        input.end()?;
        let mut kinds = SECTIONS[0].rows(sections[0]);
        let known = kinds.all(|row| matches!(row.get(44..), Some([0..=3, 0, 0, 0])));
        ensure(known, "a dedup key is of no known kind")?;
        Ok(Self { sections, new_orders: keys.map(|keys| keys.new_orders) })
    }
}

/// What version 2 adds to the header.
struct Keys {
    new_orders: u64,
    /// Lengths of the filters in bytes: of the ledger, of the heads.
    filter_lens: [u64; 2],
    filters_hash: u128,
}

impl Keys {
    fn read(input: &mut Input<'_>) -> Result<Self, Why> {
        let new_orders = input.u64()?;
        let filter_lens = [input.u64()?, input.u64()?];
        Ok(Self { new_orders, filter_lens, filters_hash: input.u128()? })
    }

    /// Takes the filters, and checks that they let all rows pass.
    fn check(&self, input: &mut Input<'_>, sections: &[&[u8]; 6]) -> Result<(), Why> {
        let whole = self.filter_lens[0].checked_add(self.filter_lens[1]);
        let filters = input.take(whole.ok_or(Why("its filters are too long"))?)?;
        ensure(xxh3_128(filters) == self.filters_hash, "the checksum of its filters is wrong")?;
        let mut filters = Input::new(filters);
        for ((layout, rows), len) in SECTIONS.iter().zip(sections).zip(self.filter_lens) {
            let bytes = filters.take(len)?;
            let empty = bytes.is_empty() == rows.is_empty();
            ensure(empty, "a section has rows and no filter, or a filter and no rows")?;
            if rows.is_empty() {
                continue;
            }
            let filter = Filter::read(bytes)?;
            for row in layout.rows(rows) {
                let mut hash = Input::new(row);
                let (low, upper) = (hash.u64()?, hash.u64()?);
                let passes = filter.passes(upper, low);
                ensure(passes, "a filter does not let a row of its section pass")?;
            }
        }
        Ok(())
    }
}
