//! What several fuzz targets share: a node's directory to be damaged, and how its checksums are made
//! good again, so that the damage comes past them.

pub mod directory;
pub mod input;
pub mod repair;
