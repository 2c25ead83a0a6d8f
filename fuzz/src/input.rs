//! A fuzzer's bytes as a list of changes to files.

use std::collections::BTreeMap;

/// The files of a directory, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What a fuzzer's bytes say, one thing after the other.
#[derive(Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl Input<'_> {
    /// The next byte.
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A number below a bound, from the next two.
    pub fn number(&mut self, below: usize) -> usize {
        let (low, high) = (self.byte().unwrap_or(0), self.byte().unwrap_or(0));
        usize::from(u16::from_le_bytes([low, high])) % below.max(1)
    }

    /// The next byte.
    pub fn bytes(&mut self) -> Vec<u8> {
        let len = self.number(1_024).min(self.0.len());
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken.to_vec()
    }
}

/// One change to one of the files; `change` says of what kind.
pub fn change_one(files: &mut Files, change: u8, input: &mut Input<'_>) {
    let at = input.number(files.len());
    let Some(name) = files.keys().nth(at).cloned() else { return };
    let content = files.get_mut(&name).expect("it was just named");
    // In units of 8 bytes, so that two bytes of input reach everywhere.
    let at = (input.number(1 << 16) * 8).min(content.len());
    match change % 8 {
        0 => {
            if let Some(byte) = content.get_mut(at) {
                *byte ^= 1 << (input.number(8));
            }
        }
        1 => content.truncate(at),
        2 => {
            let bytes = input.bytes();
            let end = (at + bytes.len()).min(content.len());
            content[at..end].copy_from_slice(&bytes[..end - at]);
        }
        3 => {
            let end = (at + 4_096).min(content.len());
            content[at..end].fill(0);
        }
        4 => drop(files.remove(&name)),
        5 => content.extend_from_slice(&input.bytes()),
        // A block of one place at another: stale or misdirected.
        6 => {
            let to = (input.number(1 << 16) * 8).min(content.len());
            let len = 4_096.min(content.len() - at.max(to));
            content.copy_within(at..at + len, to);
        }
        // All of a file from the input.
        _ => *content = input.0.to_vec(),
    }
}
