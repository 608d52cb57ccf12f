//! Answers as people read them: tables with a heading, sized to their content.

use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A column: its heading and the member of each row that fills it.
pub type Column = (&'static str, &'static str);

/// Rows of objects as an aligned table. The last column is not padded.
pub fn table(rows: &[Value], columns: &[Column]) -> String {
    let mut lines: Vec<Vec<String>> = vec![
        columns
            .iter()
            .map(|(heading, _)| (*heading).to_owned())
            .collect(),
    ];
    for row in rows {
        lines.push(
            columns
                .iter()
                .map(
                    |(_, member)| match row.get(*member).and_then(Value::as_i64) {
                        Some(seconds) if *member == "at" || member.ends_with("_at") => {
                            date(seconds)
                        }
                        _ => text(row.get(*member)),
                    },
                )
                .collect(),
        );
    }
    let width = |column: usize| {
        lines
            .iter()
            .filter_map(|line| line.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| width(column).unwrap_or_default())
        .collect();
    let mut table = String::new();
    for line in &lines {
        let mut row = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            row.push_str(&format!("{cell:<width$}  "));
        }
        table.push_str(row.trim_end());
        table.push('\n');
    }
    table
}

/// A value as text: strings bare, lists joined, nothing for null.
pub fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) if items.is_empty() => "-".to_owned(),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| text(Some(item)))
            .collect::<Vec<_>>()
            .join(", "),
        Some(other) => other.to_string(),
    }
}

/// Seconds since 1970 as a date, in UTC.
fn date(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_else(|| seconds.to_string())
}

/// Seconds as an operator says them: `5s`, `12m`, `3h 4m`, `2d 1h`.
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86400, seconds % 86400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            json!({"a": "long text", "b": 1}),
            json!({"a": "x", "b": ["p", "q"]}),
        ];
        let printed = table(&rows, &[("A", "a"), ("B", "b")]);
        assert_eq!(printed, "A          B\nlong text  1\nx          p, q\n");
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(
            [5, 125, 7500, 90_000].map(duration),
            ["5s", "2m", "2h 5m", "1d 1h"].map(str::to_owned)
        );
    }
}
