//! The values of the metadata: numbers, truth values, strings, and lists of one kind of these.

use super::bytes::Bytes;
use super::{MAX_SHOWN, Problem};

/// The number in a file for a list, whose items have a number of their own.
const ARRAY: u32 = 9;

/// What can be stored as a value or in a list.
pub(super) trait Stored: Sized {
    /// Bytes that the shortest of them takes.
    const SHORTEST: usize;

    fn read(bytes: &mut Bytes<'_>) -> Result<Self, Problem>;

    fn write(&self, out: &mut Vec<u8>);
}

/// Implements [`Stored`] for numbers.
macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Stored for $number {
            const SHORTEST: usize = size_of::<Self>();

            fn read(bytes: &mut Bytes<'_>) -> Result<Self, Problem> {
                bytes.array().map(Self::from_le_bytes)
            }

            fn write(&self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }
        }
    )*};
}

numbers!(u8 i8 u16 i16 u32 i32 u64 i64 f32 f64);

impl Stored for bool {
    const SHORTEST: usize = 1;

    fn read(bytes: &mut Bytes<'_>) -> Result<Self, Problem> {
        let at = bytes.position();
        match bytes.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(Problem::Broken(format!("the truth value at byte {at} is {other}, expected 0 or 1"))),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl Stored for String {
    /// Its length.
    const SHORTEST: usize = 8;

    fn read(bytes: &mut Bytes<'_>) -> Result<Self, Problem> {
        bytes.string()
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend((self.len() as u64).to_le_bytes());
        out.extend(self.as_bytes());
    }
}

/// Defines [`MetaValue`] and [`MetaArray`] by the number of each kind, so that the two know the same.
macro_rules! values {
    ($($kind:ident($stored:ty) = $id:literal, $doc:literal;)*) => {
        /// A value of the metadata.
        #[derive(Clone, Debug, PartialEq)]
        pub enum MetaValue {
            $(#[doc = $doc] $kind($stored),)*
            /// A list.
            Array(MetaArray),
        }

        /// A list of the metadata.
        #[derive(Clone, Debug, PartialEq)]
        pub enum MetaArray {
            $(#[doc = $doc] $kind(Vec<$stored>),)*
        }

        impl MetaValue {
            /// Read a value with its kind in front.
            pub(super) fn read(bytes: &mut Bytes<'_>) -> Result<Self, Problem> {
                let at = bytes.position();
                match bytes.u32()? {
                    $($id => Stored::read(bytes).map(Self::$kind),)*
                    ARRAY => MetaArray::read(bytes).map(Self::Array),
                    other => Err(Problem::Broken(format!("there is no kind of values {other}, found at byte {at}"))),
                }
            }

            /// Write the value with its kind in front.
            pub(super) fn write(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$kind(value) => {
                        u32::write(&$id, out);
                        value.write(out);
                    })*
                    Self::Array(array) => {
                        ARRAY.write(out);
                        array.write(out);
                    }
                }
            }
        }

        impl MetaArray {
            fn read(bytes: &mut Bytes<'_>) -> Result<Self, Problem> {
                let at = bytes.position();
                match bytes.u32()? {
                    $($id => items(bytes).map(Self::$kind),)*
                    ARRAY => Err(Problem::Broken(format!("there is a list of lists at byte {at}, which no model has"))),
                    other => Err(Problem::Broken(format!("there is no kind of values {other}, found at byte {at}"))),
                }
            }

            fn write(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$kind(items) => {
                        u32::write(&$id, out);
                        (items.len() as u64).write(out);
                        items.iter().for_each(|item| item.write(out));
                    })*
                }
            }

            /// How many items there are.
            pub fn len(&self) -> usize {
                match self {
                    $(Self::$kind(items) => items.len(),)*
                }
            }

            /// Whether there are none.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// The values one by one.
            pub fn iter(&self) -> Box<dyn Iterator<Item = MetaValue> + '_> {
                match self {
                    $(Self::$kind(items) => Box::new(items.iter().cloned().map(MetaValue::$kind)),)*
                }
            }
        }

        $(
            impl From<$stored> for MetaValue {
                fn from(value: $stored) -> Self {
                    Self::$kind(value)
                }
            }

            impl From<Vec<$stored>> for MetaValue {
                fn from(items: Vec<$stored>) -> Self {
                    Self::Array(MetaArray::$kind(items))
                }
            }
        )*
    };
}

values! {
    U8(u8) = 0, "`uint8`.";
    I8(i8) = 1, "`int8`.";
    U16(u16) = 2, "`uint16`.";
    I16(i16) = 3, "`int16`.";
    U32(u32) = 4, "`uint32`.";
    I32(i32) = 5, "`int32`.";
    F32(f32) = 6, "`float32`.";
    Bool(bool) = 7, "`bool`.";
    String(String) = 8, "`string`.";
    U64(u64) = 10, "`uint64`.";
    I64(i64) = 11, "`int64`.";
    F64(f64) = 12, "`float64`.";
}

impl From<&str> for MetaValue {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl MetaValue {
    /// The whole number that this is, of any width.
    pub fn integer(&self) -> Option<i128> {
        match *self {
            Self::U8(n) => Some(n.into()),
            Self::I8(n) => Some(n.into()),
            Self::U16(n) => Some(n.into()),
            Self::I16(n) => Some(n.into()),
            Self::U32(n) => Some(n.into()),
            Self::I32(n) => Some(n.into()),
            Self::U64(n) => Some(n.into()),
            Self::I64(n) => Some(n.into()),
            _ => None,
        }
    }

    /// The number that this is. A 32-bit float is the shortest decimal fraction that rounds to it: what a `config.json`
    /// calls `1e-6` is `1e-6` again.
    pub fn number(&self) -> Option<f64> {
        match *self {
            Self::F32(x) => x.to_string().parse().ok(),
            Self::F64(x) => Some(x),
            _ => self.integer().map(|n| n as f64),
        }
    }

    /// What an error says of the value: all of it, or its beginning.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::String(text) => format!("{:?}", text.chars().take(MAX_SHOWN).collect::<String>()),
            Self::Array(array) => format!("a list of {}", array.len()),
            Self::Bool(value) => value.to_string(),
            other => other.number().map_or_else(|| format!("{other:?}"), |number| number.to_string()),
        }
    }
}

/// The items of a list with their number in front.
fn items<T: Stored>(bytes: &mut Bytes<'_>) -> Result<Vec<T>, Problem> {
    (0..bytes.count(T::SHORTEST)?).map(|_| T::read(bytes)).collect()
}
