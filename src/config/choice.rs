//! The macro that defines a choice between words once.

use crate::node::{Kind, Node};
use crate::problem::Problem;
use crate::reader::Reader;
use crate::shape::{ChoiceInfo, Shape};
use crate::suggest::did_you_mean;

/// Defines a choice between words.
///
/// ```
/// omnid_config::choice! {
///     /// How the log is written.
///     pub enum LogFormat {
///         /// For people.
///         Text = "text",
///         /// For programs.
///         Json = "json",
///     }
/// }
/// assert_eq!(LogFormat::Json.as_str(), "json");
/// ```
///
/// The enum is `Copy`, ordered and hashable, prints as its word, and lists itself in `ALL`.
#[macro_export]
macro_rules! choice {
    (
        $(#[doc = $help:literal])*
        $vis:vis enum $name:ident {
            $(
                $(#[doc = $option_help:literal])*
                $option:ident = $word:literal
            ),* $(,)?
        }
    ) => {
        $(#[doc = $help])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $vis enum $name {
            $(
                $(#[doc = $option_help])*
                $option,
            )*
        }

        impl $name {
            /// Every option.
            #[allow(dead_code)]
            pub const ALL: &'static [$name] = &[$($name::$option),*];

            const INFO: $crate::ChoiceInfo = $crate::ChoiceInfo {
                name: stringify!($name),
                help: &[$($help),*],
                options: &[$(($word, &[$($option_help),*])),*],
            };

            /// The word in the file.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($name::$option => $word,)*
                }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::Value for $name {
            fn parse(
                node: &$crate::Node,
                cx: &mut $crate::Reader,
            ) -> ::std::option::Option<Self> {
                match $crate::read_choice(const { &Self::INFO }, node, cx)? {
                    $($word => ::std::option::Option::Some($name::$option),)*
                    _ => ::std::option::Option::None,
                }
            }

            fn shape() -> $crate::Shape {
                $crate::Shape::Choice(const { &Self::INFO })
            }

            fn item(&self) -> $crate::Item {
                $crate::Item::text(self.as_str())
            }
        }
    };
}

/// Reads one of a choice's words.
pub fn read_choice<'a>(
    info: &'static ChoiceInfo,
    node: &'a Node,
    cx: &mut Reader,
) -> Option<&'a str> {
    let Kind::String(word) = &node.kind else {
        cx.wrong_type(node, &Shape::Choice(info));
        return None;
    };
    let words = || info.options.iter().map(|(word, _)| *word);
    if words().any(|option| option == word) {
        return Some(word);
    }
    let problem = Problem::error(format!("{} cannot be \"{word}\"", cx.subject()))
        .at(node.span, format!("not one of {}", info.allowed()))
        .maybe_help(did_you_mean(word, words()).map(|word| format!("did you mean \"{word}\"?")));
    cx.problems.push(problem);
    None
}
