//! All URI names of a certificate.
//!
//! `webpki` lists those that are text, up to the first name that it cannot read; a certificate with
//! one more behind would seem to have exactly one. So the names are read here once more, and one that
//! cannot be read is an error. DER is X.690; the fields of a certificate are RFC 5280, 4.1 and 4.2.1.6.

const SEQUENCE: u8 = 0x30;
const OBJECT_ID: u8 = 0x06;
const BOOLEAN: u8 = 0x01;
const OCTETS: u8 = 0x04;
/// `[3]`, the extensions among the fields of a certificate.
const EXTENSIONS: u8 = 0xa3;
/// 2.5.29.17, the subject's other names.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// `[6]`, a URI among the kinds of names.
const URI: u8 = 0x86;
/// The other kinds, `[0]` to `[8]`; those that are made of parts have the bit 0x20.
const OTHER_NAMES: [u8; 8] = [0xa0, 0x81, 0x82, 0xa3, 0xa4, 0xa5, 0x87, 0x88];

/// The URI names in a certificate, as their bytes. `None` where anything on the way to them, or any
/// other name, is not as it must be.
pub(super) fn uri_names(certificate: &[u8]) -> Option<Vec<&[u8]>> {
    let mut certificate = Der(Der(certificate).only(SEQUENCE)?);
    let mut fields = Der(certificate.next_of(SEQUENCE)?);
    let mut found = Vec::new();
    while !fields.is_at_end() {
        let (tag, content) = fields.next()?;
        if tag != EXTENSIONS {
            continue;
        }
        let mut extensions = Der(Der(content).only(SEQUENCE)?);
        while !extensions.is_at_end() {
            let mut extension = Der(extensions.next_of(SEQUENCE)?);
            if extension.next_of(OBJECT_ID)? == SUBJECT_ALT_NAME {
                add_uris(Der(Der(value(extension)?).only(SEQUENCE)?), &mut found)?;
            }
        }
    }
    Some(found)
}

/// What follows the name of an extension; whether it is critical may be said before.
fn value(mut extension: Der<'_>) -> Option<&[u8]> {
    match extension.next()? {
        (OCTETS, value) => Some(value),
        (BOOLEAN, _) => extension.only(OCTETS),
        _ => None,
    }
}

fn add_uris<'a>(mut names: Der<'a>, found: &mut Vec<&'a [u8]>) -> Option<()> {
    while !names.is_at_end() {
        match names.next()? {
            (URI, name) => found.push(name),
            (tag, _) if OTHER_NAMES.contains(&tag) => {}
            _ => return None,
        }
    }
    Some(())
}

/// Elements that follow each other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// Tag and content of the next element. Lengths have one form only: the shortest.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81 => {
                let (&[len], rest) = rest.split_first_chunk()?;
                (usize::from(Some(len).filter(|len| *len > 0x7f)?), rest)
            }
            0x82 => {
                let (len, rest) = rest.split_first_chunk()?;
                (usize::from(Some(u16::from_be_bytes(*len)).filter(|len| *len > 0xff)?), rest)
            }
            // Certificates are below 64 KiB: so is the largest chain that a handshake takes.
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The content of the next element, which has this tag.
    fn next_of(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    /// The content of the last element, which has this tag.
    fn only(mut self, tag: u8) -> Option<&'a [u8]> {
        self.next_of(tag).filter(|_| self.is_at_end())
    }
}
