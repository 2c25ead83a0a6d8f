//! LEB128 for unsigned numbers and zigzag for signed ones, and a bounded reader of both.

/// The bytes end, or a number does not fit, where one was to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes end early or hold no valid number")]
pub struct Truncated;

/// Appends `value` in 1 to 10 bytes.
#[expect(clippy::cast_possible_truncation, reason = "the lowest seven bits are wanted")]
pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends `value` in 1 to 10 bytes, small magnitudes in few.
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned());
}

/// Reads from the front of a slice; never past its end.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Begins at the front.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// One byte.
    ///
    /// # Errors
    /// [`Truncated`] at the end.
    pub fn u8(&mut self) -> Result<u8, Truncated> {
        let (first, rest) = self.bytes.split_first().ok_or(Truncated)?;
        self.bytes = rest;
        Ok(*first)
    }

    /// `len` bytes.
    ///
    /// # Errors
    /// [`Truncated`] where fewer are left.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Truncated> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or(Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    /// `N` bytes.
    ///
    /// # Errors
    /// [`Truncated`] where fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>().ok_or(Truncated)?;
        self.bytes = rest;
        Ok(*taken)
    }

    /// One unsigned number. Only its shortest form is read.
    ///
    /// # Errors
    /// [`Truncated`] at the end, or for a number over 64 bits or padded with zeros.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, Truncated> {
        let first = self.u8()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        for shift in (7..70).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 || byte == 0 {
                return Err(Truncated);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Truncated)
    }

    /// One unsigned number as a length or an index.
    ///
    /// # Errors
    /// As [`Cursor::varint`], and where it is no `usize`.
    pub fn varint_usize(&mut self) -> Result<usize, Truncated> {
        usize::try_from(self.varint()?).map_err(|_| Truncated)
    }

    /// One signed number.
    ///
    /// # Errors
    /// As [`Cursor::varint`].
    pub fn varint_signed(&mut self) -> Result<i64, Truncated> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    /// Bytes behind their length.
    ///
    /// # Errors
    /// As [`Cursor::varint`] and [`Cursor::take`].
    pub fn slice(&mut self) -> Result<&'a [u8], Truncated> {
        let len = self.varint_usize()?;
        self.take(len)
    }
}

/// Appends `bytes` behind their length.
pub fn put_slice(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_is_read(value: u64, signed: i64, bytes: Vec<u8>) {
            let mut out = Vec::new();
            put(&mut out, value);
            put_signed(&mut out, signed);
            put_slice(&mut out, &bytes);
            let mut cursor = Cursor::new(&out);
            prop_assert_eq!(cursor.varint(), Ok(value));
            prop_assert_eq!(cursor.varint_signed(), Ok(signed));
            prop_assert_eq!(cursor.slice(), Ok(&bytes[..]));
            prop_assert!(cursor.is_empty());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let mut cursor = Cursor::new(&bytes);
            while cursor.varint().is_ok() {}
        }
    }

    #[test]
    fn a_number_has_one_form() {
        assert_eq!(Cursor::new(&[0x80, 0x00]).varint(), Err(Truncated));
        let eleven = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(Cursor::new(&eleven).varint(), Err(Truncated));
    }
}
