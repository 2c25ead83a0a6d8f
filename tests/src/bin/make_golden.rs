//! Makes the newest golden data directory. It is made once for each version of the format: a new version
//! gets a new directory, and the old ones stay.

use takt_tests::golden::{NAMES, copy, describe, description, directory, make, open};

fn main() -> std::io::Result<()> {
    let name = NAMES.last().expect("there is one");
    make(&directory(name));
    // It is made again at every start after a kill, in redb's format of the day.
    std::fs::remove_file(directory(name).join("index.redb"))?;
    // As it is after a start: what is in memory has all, what is on disk may be compacted.
    std::fs::write(description(name), describe(&open(copy(name).path(), 2)))
}
