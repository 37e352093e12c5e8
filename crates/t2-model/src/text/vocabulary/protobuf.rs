//! The wire format of protocol buffers, as far as SentencePiece models use it.
//!
//! A dozen fields are read. A crate for protocol buffers would bring a compiler for the schema, or its output.

use super::Fault;

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// A number, a truth value or an enumeration.
    Number(u64),
    /// A 32-bit float.
    Float(f32),
    /// Text, bytes or a message.
    Bytes(&'a [u8]),
    /// Eight bytes that no field of ours has.
    Other,
}

/// The fields of a message, in the order in which they are stored.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(count).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of seven bits a byte, the lowest first.
    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = u64::from(*self.take(1)?.first()?);
            number |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Other)?,
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Float(f32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let left = self.0.len();
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or_else(|| {
            Fault::Broken(format!("no SentencePiece model: no field starts {left} bytes before the end of a message"))
        }))
    }
}

/// The text of a field.
pub(super) fn text(value: Value<'_>) -> Result<String, Fault> {
    let text = if let Value::Bytes(bytes) = value { std::str::from_utf8(bytes).ok() } else { None };
    text.map(str::to_owned).ok_or_else(|| Fault::Broken(format!("no SentencePiece model: {value:.20?} is not text")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expect the fields of `message`, up to the first that is broken.
    #[track_caller]
    fn check(message: &[u8], expected: &[(u64, Value<'_>)], broken: bool) {
        let fields: Vec<_> = Fields::of(message).collect();
        let good: Vec<_> = fields.iter().filter_map(|field| field.as_ref().ok().copied()).collect();
        assert_eq!(good, expected);
        assert_eq!(fields.len() > good.len(), broken);
    }

    #[test]
    fn fields_are_read_and_broken_ones_are_errors() {
        check(&[], &[], false);
        check(&[0x08, 0xac, 0x02], &[(1, Value::Number(300))], false);
        check(
            &[0x12, 2, b'h', b'i', 0x1d, 0, 0, 0x80, 0x3f],
            &[(2, Value::Bytes(b"hi")), (3, Value::Float(1.0))],
            false,
        );
        check(&[0x09, 1, 2, 3, 4, 5, 6, 7, 8], &[(1, Value::Other)], false);
        check(&[0x08, 1, 0x12, 3, b'h'], &[(1, Value::Number(1))], true);
        check(&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], &[], true);
        check(&[0xff; 12], &[], true);
        check(&[0x0b], &[], true);
    }
}
