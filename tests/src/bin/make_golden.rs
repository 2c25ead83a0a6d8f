//! Makes the golden data directory. It is made once for each version of the format: a new version
//! gets a new directory, and the old ones stay.

use takt_tests::golden::{description, directory, make};

fn main() -> std::io::Result<()> {
    let text = make(&directory());
    // It is made again at every start after a kill, in redb's format of the day.
    std::fs::remove_file(directory().join("index.redb"))?;
    std::fs::write(description(), text)
}
