//! One entry of the log, apart from how it is written.

use std::fmt;
use std::sync::Arc;

use time::OffsetDateTime;
use tracing::Level;
use tracing::field::{Field, Visit};

/// The longest text of one field; what is over it is cut off, and says so. Whatever a peer sends, an
/// entry stays bounded.
const TEXT_MAX: usize = 8 * 1024;

/// An entry.
pub(crate) struct Record {
    pub(crate) time: OffsetDateTime,
    pub(crate) level: Level,
    pub(crate) target: String,
    pub(crate) place: Option<(String, u32)>,
    pub(crate) message: String,
    pub(crate) fields: Fields,
    /// The outermost first.
    pub(crate) spans: Vec<(&'static str, Arc<Fields>)>,
}

/// A field's value, as it was given.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Bool(bool),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Signed(number) => write!(f, "{number}"),
            Self::Unsigned(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Bool(value) => write!(f, "{value}"),
        }
    }
}

/// The fields of an entry or a span, in order, each once.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn push(&mut self, name: &'static str, value: Value) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        let index = self.0.iter().position(|(known, _)| *known == name)?;
        Some(self.0.remove(index).1)
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Bounded(String::new());
        // The only error is that the bound was reached, which the text itself says.
        let _ = fmt::write(&mut text, format_args!("{value:?}"));
        self.push(field.name(), Value::Text(text.0));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let mut text = Bounded(String::new());
        let _ = fmt::Write::write_str(&mut text, value);
        self.push(field.name(), Value::Text(text.0));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = Bounded(String::new());
        let _ = fmt::write(&mut text, format_args!("{value}"));
        let mut cause = value.source();
        while let Some(error) = cause {
            let _ = fmt::write(&mut text, format_args!(": {error}"));
            cause = error.source();
        }
        self.push(field.name(), Value::Text(text.0));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field.name(), Value::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field.name(), Value::Unsigned(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field.name(), Value::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field.name(), Value::Bool(value));
    }
}

/// Text up to [`TEXT_MAX`].
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let left = TEXT_MAX.saturating_sub(self.0.len());
        if text.len() <= left {
            self.0.push_str(text);
            return Ok(());
        }
        let end = (0..=left)
            .rev()
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or(0);
        self.0.push_str(text.get(..end).unwrap_or_default());
        self.0.push('…');
        Err(fmt::Error)
    }
}
