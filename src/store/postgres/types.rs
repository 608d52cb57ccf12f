//! Values between the shared types and PostgreSQL's.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::{Row, StoreError, Value};

type Boxed = Box<dyn Error + Sync + Send>;

impl ToSql for Value {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Boxed> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(x) => match *kind {
                Type::INT8 => x.to_sql(kind, out),
                Type::INT4 => i32::try_from(*x)?.to_sql(kind, out),
                Type::INT2 => i16::try_from(*x)?.to_sql(kind, out),
                Type::BOOL => (*x != 0).to_sql(kind, out),
                #[allow(clippy::cast_precision_loss)]
                Type::FLOAT8 => (*x as f64).to_sql(kind, out),
                _ => Err(mismatch(self, kind)),
            },
            Self::Real(x) => match *kind {
                Type::FLOAT8 => x.to_sql(kind, out),
                #[allow(clippy::cast_possible_truncation)]
                Type::FLOAT4 => (*x as f32).to_sql(kind, out),
                _ => Err(mismatch(self, kind)),
            },
            Self::Text(x) => match *kind {
                Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => {
                    x.to_sql(kind, out)
                }
                _ => Err(mismatch(self, kind)),
            },
            Self::Blob(x) => match *kind {
                Type::BYTEA => x.to_sql(kind, out),
                _ => Err(mismatch(self, kind)),
            },
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn mismatch(value: &Value, kind: &Type) -> Boxed {
    format!(
        "cannot give {} for a parameter of type {kind}",
        value.kind()
    )
    .into()
}

struct Cell(Value);

impl<'a> FromSql<'a> for Cell {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Boxed> {
        Ok(Self(match *kind {
            Type::INT8 => Value::Integer(i64::from_sql(kind, raw)?),
            Type::INT4 => Value::Integer(i32::from_sql(kind, raw)?.into()),
            Type::INT2 => Value::Integer(i16::from_sql(kind, raw)?.into()),
            Type::OID => Value::Integer(u32::from_sql(kind, raw)?.into()),
            Type::BOOL => Value::Integer(bool::from_sql(kind, raw)?.into()),
            Type::FLOAT8 => Value::Real(f64::from_sql(kind, raw)?),
            Type::FLOAT4 => Value::Real(f32::from_sql(kind, raw)?.into()),
            Type::NUMERIC => numeric(raw)?,
            Type::BYTEA => Value::Blob(raw.to_vec()),
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => {
                Value::Text(std::str::from_utf8(raw)?.to_owned())
            }
            _ => return Err(format!("no column may have type {kind}").into()),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Boxed> {
        Ok(Self(Value::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// `SUM` of integers is NUMERIC: 16-bit groups of four decimal digits, the first of them worth
/// 10000^weight.
fn numeric(raw: &[u8]) -> Result<Value, Boxed> {
    let words: Vec<u16> = raw
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |n, b| n << 8 | u16::from(*b)))
        .collect();
    let [count, weight, sign, _scale, digits @ ..] = words.as_slice() else {
        return Err("a numeric value is cut short".into());
    };
    if *sign != 0 && *sign != 0x4000 || digits.len() != usize::from(*count) {
        return Err("a numeric value that is no number".into());
    }
    let weight = i32::from(weight.cast_signed());
    // Digit groups below the point make it a real number.
    if i32::from(*count) <= weight + 1 {
        let mut whole: Option<i64> = Some(0);
        for position in 0..=weight {
            let group = digits.get(usize::try_from(position)?).copied().unwrap_or(0);
            whole = whole
                .and_then(|n| n.checked_mul(10_000))
                .and_then(|n| n.checked_sub(i64::from(group)));
        }
        let whole = if *sign == 0 {
            whole.and_then(i64::checked_neg)
        } else {
            whole
        };
        return whole
            .map(Value::Integer)
            .ok_or_else(|| "a sum beyond 64 bits".into());
    }
    let magnitude = digits.iter().zip(0i32..).fold(0.0, |sum, (group, at)| {
        sum + f64::from(*group) * 10_000f64.powi(weight - at)
    });
    Ok(Value::Real(if *sign == 0 { magnitude } else { -magnitude }))
}

pub(super) fn row_values(row: &tokio_postgres::Row) -> Result<Row, StoreError> {
    let values = (0..row.len())
        .map(|index| Ok(row.try_get::<_, Cell>(index)?.0))
        .collect::<Result<_, tokio_postgres::Error>>()?;
    Ok(Row(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(
        clippy::needless_pass_by_value,
        reason = "reads better in the table below"
    )]
    fn check(words: &[u16], expected: Option<Value>) {
        let raw: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        assert_eq!(numeric(&raw).ok(), expected, "{words:?}");
    }

    #[test]
    fn numeric_values() {
        check(&[0, 0, 0, 0], Some(Value::Integer(0)));
        check(&[1, 0, 0, 0, 42], Some(Value::Integer(42)));
        check(&[1, 0, 0x4000, 0, 42], Some(Value::Integer(-42)));
        check(&[1, 1, 0, 0, 3], Some(Value::Integer(30_000)));
        check(&[2, 1, 0, 0, 1, 5], Some(Value::Integer(10_005)));
        check(&[2, 0, 0, 1, 1, 5000], Some(Value::Real(1.5)));
        check(&[1, 0xffff, 0, 1, 2500], Some(Value::Real(0.25)));
        check(
            &[5, 4, 0, 0, 922, 3372, 368, 5477, 5807],
            Some(Value::Integer(i64::MAX)),
        );
        check(
            &[5, 4, 0x4000, 0, 922, 3372, 368, 5477, 5808],
            Some(Value::Integer(i64::MIN)),
        );
        check(&[5, 4, 0, 0, 922, 3372, 368, 5477, 5808], None);
        check(&[0, 0, 0xc000, 0], None);
        check(&[2, 0, 0, 0, 1], None);
        check(&[1, 0], None);
    }
}
