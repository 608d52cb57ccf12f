//! An entry as a JSON object on a line.

use serde_json::{Map, Value as Json, json};

use crate::record::{Fields, Record, Value};
use crate::text::timestamp;

/// Writes `record` as one line, with its end.
pub(crate) fn line(record: &Record) -> String {
    let mut time = String::with_capacity(24);
    timestamp(&mut time, record.time);
    let mut object = Map::new();
    object.insert("time".to_owned(), time.into());
    object.insert(
        "level".to_owned(),
        record.level.as_str().to_ascii_lowercase().into(),
    );
    object.insert("target".to_owned(), record.target.clone().into());
    object.insert("message".to_owned(), record.message.clone().into());
    if !record.fields.is_empty() {
        object.insert("fields".to_owned(), fields(&record.fields).into());
    }
    if !record.spans.is_empty() {
        let spans = record.spans.iter().map(|(name, of_span)| {
            let mut span = Map::new();
            span.insert("span".to_owned(), (*name).into());
            span.extend(fields(of_span));
            Json::from(span)
        });
        object.insert("spans".to_owned(), spans.collect());
    }
    let mut line = Json::from(object).to_string();
    line.push('\n');
    line
}

fn fields(fields: &Fields) -> Map<String, Json> {
    let pairs = fields.iter().map(|(name, value)| {
        let value = match value {
            Value::Text(text) => json!(text),
            Value::Signed(number) => json!(number),
            Value::Unsigned(number) => json!(number),
            Value::Float(number) => json!(number),
            Value::Bool(value) => json!(value),
        };
        (name.to_owned(), value)
    });
    pairs.collect()
}
