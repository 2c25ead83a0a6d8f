//! Makes the newest golden data directory. It is made once for each version of the format: a new version
//! gets a new directory, and the old ones stay.

use takt_tests::golden::{NAMES, description, directory, make};

fn main() -> std::io::Result<()> {
    let name = NAMES.last().expect("there is one");
    let text = make(&directory(name));
    // It is made again at every start after a kill, in redb's format of the day.
    std::fs::remove_file(directory(name).join("index.redb"))?;
    std::fs::write(description(name), text)
}
