//! Preparing the parts of an address so that equal addresses are equal bytes.
//!
//! The profiles are those of RFC 6122 (Nodeprep, Nameprep, Resourceprep), which Prosody, ejabberd and
//! jabberd use; what they let through is also unchanged by RFC 7622's. One thing differs: code points
//! that Unicode 3.2 had not assigned are allowed, as RFC 7622 wants (emoji in a resource).

use std::borrow::Cow;

use stringprep::tables;
use unicode_normalization::UnicodeNormalization;

/// Nodeprep (RFC 6122 appendix A). `None` for what no local part may hold.
pub(crate) fn local(text: &str) -> Option<Cow<'_, str>> {
    prepare(text, true, |c| {
        tables::ascii_space_character(c) || "\"&'/:<>@".contains(c)
    })
}

/// Nameprep (RFC 3491).
pub(crate) fn domain(text: &str) -> Option<Cow<'_, str>> {
    prepare(text, true, |_| false)
}

/// Resourceprep (RFC 6122 appendix B).
pub(crate) fn resource(text: &str) -> Option<Cow<'_, str>> {
    prepare(text, false, |_| false)
}

fn prepare(text: &str, fold: bool, banned: impl Fn(char) -> bool) -> Option<Cow<'_, str>> {
    if text.is_ascii() {
        let bad = |b: u8| b < 0x20 || b == 0x7f || banned(char::from(b));
        if text.bytes().any(bad) {
            return None;
        }
        return Some(if fold && text.bytes().any(|b| b.is_ascii_uppercase()) {
            Cow::Owned(text.to_ascii_lowercase())
        } else {
            Cow::Borrowed(text)
        });
    }
    let once = mapped(text, fold);
    // Characters younger than the tables may decompose to something the tables would map again;
    // a form that isn't its own form would make two addresses of one.
    if mapped(&once, fold) != once {
        return None;
    }
    if once.chars().any(|c| prohibited(c) || banned(c)) || mixes_directions(&once) {
        return None;
    }
    Some(Cow::Owned(once))
}

/// Steps 1 and 2 of RFC 3454: map, then normalise by form KC.
fn mapped(text: &str, fold: bool) -> String {
    let kept = text
        .chars()
        .filter(|&c| !tables::commonly_mapped_to_nothing(c));
    if fold {
        kept.flat_map(tables::case_fold_for_nfkc).nfkc().collect()
    } else {
        kept.nfkc().collect()
    }
}

/// Step 3: the tables that all three profiles prohibit.
fn prohibited(c: char) -> bool {
    tables::non_ascii_space_character(c)
        || tables::ascii_control_character(c)
        || tables::non_ascii_control_character(c)
        || tables::private_use(c)
        || tables::non_character_code_point(c)
        || tables::inappropriate_for_plain_text(c)
        || tables::inappropriate_for_canonical_representation(c)
        || tables::change_display_properties_or_deprecated(c)
        || tables::tagging_character(c)
}

/// Step 4: RFC 3454 section 6.
fn mixes_directions(text: &str) -> bool {
    if !text.contains(tables::bidi_r_or_al) {
        return false;
    }
    text.contains(tables::bidi_l)
        || !text.starts_with(tables::bidi_r_or_al)
        || !text.ends_with(tables::bidi_r_or_al)
}
