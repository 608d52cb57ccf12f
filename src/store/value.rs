//! Values on their way into and out of SQL.

use crate::StoreError;

/// One value, in the types that both databases have.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

impl Value {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Integer(_) => "integer",
            Self::Real(_) => "real",
            Self::Text(_) => "text",
            Self::Blob(_) => "blob",
        }
    }
}

macro_rules! value_from {
    ($($from:ty => |$x:ident| $to:expr),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from($x: $from) -> Self {
                $to
            }
        }
    )*};
}

value_from! {
    i64 => |x| Self::Integer(x),
    i32 => |x| Self::Integer(x.into()),
    u32 => |x| Self::Integer(x.into()),
    u16 => |x| Self::Integer(x.into()),
    u8 => |x| Self::Integer(x.into()),
    bool => |x| Self::Integer(x.into()),
    f64 => |x| Self::Real(x),
    String => |x| Self::Text(x),
    &String => |x| Self::Text(x.clone()),
    &str => |x| Self::Text(x.to_owned()),
    Vec<u8> => |x| Self::Blob(x),
    &Vec<u8> => |x| Self::Blob(x.clone()),
    &[u8] => |x| Self::Blob(x.to_vec()),
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(x: [u8; N]) -> Self {
        Self::Blob(x.to_vec())
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(x: &[u8; N]) -> Self {
        Self::Blob(x.to_vec())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(x: Option<T>) -> Self {
        x.map_or(Self::Null, Into::into)
    }
}

/// A Rust type that a column can be read as.
pub trait FromValue: Sized {
    /// What is expected, for the message when something else is found.
    const EXPECTED: &'static str;
    /// The value, if it is of this type.
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! from_value {
    ($($type:ty, $expected:literal, $pattern:pat => $to:expr;)*) => {$(
        impl FromValue for $type {
            const EXPECTED: &'static str = $expected;
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    $pattern => $to,
                    _ => None,
                }
            }
        }
    )*};
}

from_value! {
    i64, "integer", Value::Integer(x) => Some(*x);
    u64, "unsigned integer", Value::Integer(x) => u64::try_from(*x).ok();
    u32, "32-bit unsigned integer", Value::Integer(x) => u32::try_from(*x).ok();
    bool, "integer 0 or 1", Value::Integer(x) => Some(*x != 0);
    String, "text", Value::Text(x) => Some(x.clone());
    Vec<u8>, "blob", Value::Blob(x) => Some(x.clone());
}

impl FromValue for Value {
    const EXPECTED: &'static str = "any value";
    fn from_value(value: &Value) -> Option<Self> {
        Some(value.clone())
    }
}

impl FromValue for f64 {
    const EXPECTED: &'static str = "real";
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Real(x) => Some(*x),
            // SQLite stores 2.0 in a column without type as it likes.
            #[allow(clippy::cast_precision_loss)]
            Value::Integer(x) => Some(*x as f64),
            _ => None,
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            other => T::from_value(other).map(Some),
        }
    }
}

/// One row of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Row(pub(crate) Vec<Value>);

impl Row {
    /// The column at `index`, counted from 0.
    pub fn get<T: FromValue>(&self, index: usize) -> Result<T, StoreError> {
        let value = self.0.get(index).ok_or(StoreError::Type {
            column: index,
            expected: T::EXPECTED,
            found: "no such column",
        })?;
        T::from_value(value).ok_or(StoreError::Type {
            column: index,
            expected: T::EXPECTED,
            found: value.kind(),
        })
    }

    /// The row's values, in column order.
    pub fn values(&self) -> &[Value] {
        &self.0
    }
}

/// The values for a statement's `$1`, `$2`, …, each through `Value::from`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$($crate::Value::from($value)),*] as &[$crate::Value]
    };
}
