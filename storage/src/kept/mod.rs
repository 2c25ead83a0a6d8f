//! Files that outlive journal files: batches that are kept, or kept on, when theirs goes.
//!
//! - A *side file* holds the batches with open conflicts of a file that retention drops or trims.
//! - A *pack* holds what several sealed journal files still hold, and takes their place.
//!
//! Both hold stored batches as the journal has them, byte for byte. Each gets its name when it is
//! durable, and counts only once an entry names it, with the checksum of its header: with that, every
//! byte is accounted for.

mod error;
mod file;
mod pack;
mod side;

pub use error::KeptError;
pub use pack::{PackBlocks, PackCompression, PackReader, PackWriter, parse_pack};
pub(crate) use side::{SideReader, SideWriter, is_side, len_bytes as side_len_bytes, parse_side};
