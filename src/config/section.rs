//! The macro that defines a section once.

/// Defines a section of the config: from the one definition come the struct, its parser, its
/// defaults, and its part of the manual and of the JSON schema.
///
/// ```
/// omnid_config::section! {
///     /// A door bell.
///     pub struct BellConfig {
///         /// Where it listens.
///         pub listen: Vec<omnid_config::Spanned<omnid_config::ListenAddr>> = vec![],
///         /// What kind of bell it is.
///         #[key = "type"]
///         pub kind: String = "brass".into(),
///         /// How often it rings.
///         #[range(1..=10)]
///         pub rings: u8 = 3,
///         /// Whose door it is.
///         pub name: String,
///     }
/// }
/// let bell = omnid_config::load_str::<BellConfig>("name = 'front'").unwrap().value;
/// assert_eq!(bell.rings, 3);
/// ```
///
/// - Documentation is the key's help: its first line (up to the first empty one) is the one-line
///   help of listings, all of it stands in the manual.
/// - `= expression` is the default, and makes the key optional. `Option<T>` is optional anyway.
/// - After the documentation, in this order and each at most once: `#[key = "type"]` names the key
///   where Rust would not have the word; `#[range(1..=10)]` bounds numbers, durations
///   (`Duration::from_secs(1)..=Duration::from_secs(60)`) and sizes, also inside `Option`, `Vec`
///   and `Spanned`.
/// - `#[check(path::to::function)]` after the section's own documentation, any number of times,
///   names a `fn(&Self, &mut Problems)` that is called when the whole section was read without an
///   error; `#[check(path::to::function, needs(zone, key))]` when those fields were. A check that
///   compares fields with each other would otherwise complain of a default that stands in for a
///   value that has been complained of already.
/// - The struct has one more field, `place`: where the section's header was written.
/// - The struct is `Clone + Debug + PartialEq` (places are ignored), and `Default` where every key
///   has a `= default`.
#[macro_export]
macro_rules! section {
    ($($definition:tt)*) => {
        $crate::__section_struct! { $($definition)* }
        $crate::__section_default! { $($definition)* }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __section_struct {
    (
        $(#[doc = $help:literal])*
        $(#[check($check:path $(, needs($($needs:ident),+ $(,)?))?)])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $field_help:literal])*
                $(#[key = $key:literal])?
                $(#[range($range:expr)])?
                $field_vis:vis $field:ident : $ty:ty $(= $default:expr)?
            ),* $(,)?
        }
    ) => {
        $(#[doc = $help])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $name {
            $(
                $(#[doc = $field_help])*
                $field_vis $field: $ty,
            )*
            /// Where this section's header was written.
            pub place: $crate::Place,
        }

        impl $crate::Section for $name {
            const INFO: $crate::SectionInfo = $crate::SectionInfo {
                id: concat!(module_path!(), "::", stringify!($name)),
                name: stringify!($name),
                help: &[$($help),*],
                fields: &[$(
                    $crate::Field {
                        name: stringify!($field),
                        key: $crate::__key!($field $($key)?),
                        help: &[$($field_help),*],
                        shape: <$ty as $crate::Value>::shape,
                        default: $crate::__option!($({
                            fn default() -> $crate::Item {
                                let default: $ty = $default;
                                $crate::Value::item(&default)
                            }
                            default
                        })?),
                        absent: <$ty as $crate::Value>::MAY_BE_ABSENT,
                        range: $crate::__option!($({
                            fn range() -> $crate::Range {
                                $crate::Range::from($range)
                            }
                            range
                        })?),
                    }
                ),*],
            };

            fn read(
                table: &$crate::Table,
                place: $crate::Place,
                cx: &mut $crate::Reader,
            ) -> ::std::option::Option<Self> {
                let mut reader =
                    $crate::TableReader::new(const { &<Self as $crate::Section>::INFO }, table, place, cx);
                let mut index = 0;
                $(
                    let $field: ::std::option::Option<$ty> = reader.field(
                        index,
                        $crate::__option!($({
                            fn default() -> $ty {
                                $default
                            }
                            default
                        })?),
                    );
                    index += 1;
                )*
                let _ = index;
                let soundness = reader.finish();
                let section = Self { $($field: $field?,)* place };
                $(
                    // A field that is needed and does not exist fails here.
                    $($( let _ = &section.$needs; )+)?
                    if soundness.allows(&[$($(stringify!($needs)),+)?]) {
                        $check(&section, &mut cx.problems);
                    }
                )*
                let _ = soundness;
                ::std::option::Option::Some(section)
            }
        }

        impl $crate::Value for $name {
            fn parse(
                node: &$crate::Node,
                cx: &mut $crate::Reader,
            ) -> ::std::option::Option<Self> {
                $crate::read_section(node, cx)
            }

            fn shape() -> $crate::Shape {
                $crate::Shape::Section(const { &<Self as $crate::Section>::INFO })
            }

            fn item(&self) -> $crate::Item {
                $crate::Item::Section($crate::SectionItem {
                    info: const { &<Self as $crate::Section>::INFO },
                    items: ::std::vec![$($crate::Value::item(&self.$field)),*],
                })
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __section_default {
    (
        $(#[doc = $help:literal])*
        $(#[check($check:path $(, needs($($needs:ident),+ $(,)?))?)])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $field_help:literal])*
                $(#[key = $key:literal])?
                $(#[range($range:expr)])?
                $field_vis:vis $field:ident : $ty:ty = $default:expr
            ),* $(,)?
        }
    ) => {
        impl ::std::default::Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* place: $crate::Place::default() }
            }
        }
    };
    // Some key is required: there is no default of the whole.
    ($($other:tt)*) => {};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __key {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $key:literal) => {
        $key
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __option {
    () => {
        ::std::option::Option::None
    };
    ($value:expr) => {
        ::std::option::Option::Some($value)
    };
}
