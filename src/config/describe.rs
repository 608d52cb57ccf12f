//! Keys in words: what a table of the manual or `explain` says of each.

use crate::item::Item;
use crate::shape::{Field, Measure, Range, Shape};

impl Field {
    /// What it takes, without an article: "duration, 1s to 1m".
    pub fn kind(&self) -> String {
        let shape = (self.shape)();
        match self.bounds(&shape) {
            Some(range) => format!("{}, {range}", kind(&shape)),
            None => kind(&shape),
        }
    }

    /// Its default in words or as it would be written.
    pub fn default_text(&self) -> String {
        match self.default.map(|default| default()) {
            None if self.is_optional() => "not set".into(),
            None => "required".into(),
            Some(Item::Absent) => "not set".into(),
            Some(Item::Section(_)) => "its section's defaults".into(),
            Some(item) => format!("`{item}`"),
        }
    }

    /// Whether it need not be written.
    pub fn is_optional(&self) -> bool {
        self.default.is_some() || self.absent
    }

    /// The bounds worth telling: the key's own, or those of a type that somebody could meet.
    fn bounds(&self, shape: &Shape) -> Option<Range> {
        let own = self.range.map(|range| range());
        match innermost(shape) {
            Shape::Integer { min, max } => {
                let told = |bound: i128| bound.unsigned_abs() <= u128::from(u16::MAX);
                let min = own
                    .and_then(|range| range.min)
                    .or(Some(Measure::Integer(*min)));
                let max = own
                    .and_then(|range| range.max)
                    .or(Some(Measure::Integer(*max)));
                let keep = |bound: Option<Measure>, own: bool| {
                    bound.filter(|bound| match bound {
                        Measure::Integer(bound) => own || told(*bound),
                        _ => true,
                    })
                };
                let range = Range {
                    min: keep(min, own.is_some_and(|range| range.min.is_some())),
                    max: keep(max, own.is_some_and(|range| range.max.is_some())),
                };
                (range.min.is_some() || range.max.is_some()).then_some(range)
            }
            _ => own,
        }
    }
}

/// What a shape is, without an article: "list of networks".
pub(crate) fn kind(shape: &Shape) -> String {
    let name = match shape {
        Shape::Boolean => return "`true` or `false`".into(),
        Shape::Choice(choice) => {
            let words: Vec<String> = choice
                .options
                .iter()
                .map(|(word, _)| format!("`\"{word}\"`"))
                .collect();
            return words.join(", ");
        }
        Shape::List(of) if matches!(**of, Shape::Choice(_)) => {
            return format!("list of {}", kind(of));
        }
        shape => shape.name(),
    };
    let article = ["a ", "an "]
        .iter()
        .find_map(|article| name.strip_prefix(article));
    article.map_or(name.clone(), str::to_string)
}

fn innermost(shape: &Shape) -> &Shape {
    match shape {
        Shape::List(of) | Shape::Map(of) => innermost(of),
        shape => shape,
    }
}
