//! Reads numbers and bytes from the front of a slice, never past its end.

/// What is wrong with some bytes; the caller adds where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Why(pub(crate) &'static str);

/// `Ok` where `holds`, else why not.
pub(crate) fn ensure(holds: bool, why: &'static str) -> Result<(), Why> {
    if holds { Ok(()) } else { Err(Why(why)) }
}

/// A length or an offset in memory, as the numbers on disk count it.
pub(crate) const fn wide(len: usize) -> u64 {
    len as u64
}

/// The bytes that are still to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<(), Why> {
        ensure(self.rest.is_empty(), "bytes are left behind its end")
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Why> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(Why("its bytes end early"))?;
        self.rest = rest;
        Ok(*array)
    }

    pub(crate) fn take(&mut self, len: u64) -> Result<&'a [u8], Why> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Why("its bytes end early"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Why> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Why> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Why> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Why> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Why> {
        self.array().map(i64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Result<u128, Why> {
        self.array().map(u128::from_le_bytes)
    }

    /// A byte that is 0 or 1.
    pub(crate) fn flag(&mut self) -> Result<bool, Why> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Why("a yes or no is neither")),
        }
    }

    /// LEB128: seven bits a byte, the lowest first, in the fewest bytes.
    pub(crate) fn varint(&mut self) -> Result<u64, Why> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            ensure(bits << shift >> shift == bits, "a number has more than 64 bits")?;
            value |= bits << shift;
            if byte & 0x80 == 0 {
                ensure(byte != 0 || shift == 0, "a number is padded with zeros")?;
                return Ok(value);
            }
        }
        Err(Why("a number has more than 64 bits"))
    }

    /// A number that fits fewer bits.
    pub(crate) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Why> {
        T::try_from(self.varint()?).map_err(|_| Why("a number is too large"))
    }

    /// A zigzag number: 0, -1, 1, -2, ...
    pub(crate) fn signed(&mut self) -> Result<i64, Why> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// Bytes behind their length.
    pub(crate) fn slice(&mut self) -> Result<&'a [u8], Why> {
        let len = self.varint()?;
        self.take(len)
    }

    /// Text behind its length.
    pub(crate) fn text(&mut self) -> Result<&'a str, Why> {
        self.slice().and_then(text)
    }
}

/// Bytes as text.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Why> {
    std::str::from_utf8(bytes).map_err(|_| Why("a text is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varint(bytes: &[u8]) -> Result<u64, Why> {
        let mut input = Input::new(bytes);
        let value = input.varint()?;
        input.end()?;
        Ok(value)
    }

    #[test]
    fn numbers_have_their_known_bytes() {
        assert_eq!(varint(&[0]), Ok(0));
        assert_eq!(varint(&[0x7f]), Ok(127));
        assert_eq!(varint(&[0x80, 0x01]), Ok(128));
        assert_eq!(varint(&[0xac, 0x02]), Ok(300));
        assert_eq!(varint(&[[0xff; 9].as_slice(), &[1]].concat()), Ok(u64::MAX));
        for (byte, value) in [(0, 0), (1, -1), (2, 1), (3, -2), (0x7f, -64)] {
            assert_eq!(Input::new(&[byte]).signed(), Ok(value));
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for bytes in [&[][..], &[0x80], &[0x80, 0], &[0x81, 0x80, 0], &[0xff; 10], &[0xff; 11]] {
            assert!(varint(bytes).is_err(), "{bytes:x?}");
        }
        assert!(varint(&[[0xff; 9].as_slice(), &[2]].concat()).is_err());
    }

    #[test]
    fn nothing_is_read_past_the_end() {
        let mut input = Input::new(&[3, 1, 2]);
        assert!(input.slice().is_err());
        assert!(Input::new(&[0; 7]).u64().is_err());
        assert!(Input::new(&[2]).flag().is_err());
        assert!(Input::new(&[1, 0xff]).text().is_err());
        assert!(Input::new(&[0x80, 2]).small::<u8>().is_err());
    }
}
