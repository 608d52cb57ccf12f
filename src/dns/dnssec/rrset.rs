//! Record sets as they are signed (RFC 4034 6).

use crate::wire::code::{Class, RrType};
use crate::wire::name::NameRef;
use crate::wire::rdata::canonical_into;

/// How many labels of an owner a signature counts: not the root, and not a leading `*`
/// (RFC 4034 3.1.3).
pub fn signed_labels(owner: NameRef<'_>) -> u8 {
    let labels = owner.label_count() - usize::from(owner.is_wildcard());
    // At most 127 labels in a name.
    labels as u8
}

/// Appends a record set in canonical form and order: owner and the names in it in lower case, the
/// TTL that the signature names, no record twice (RFC 4034 6.2, 6.3).
///
/// With fewer `labels` than the owner has, the set was made from a wildcard, and it is that one
/// which was signed (RFC 4035 5.3.2); with more, it is no set that can have been signed, and false
/// is returned.
pub fn canonical_rrset<'r>(
    owner: NameRef<'_>,
    labels: u8,
    rr_type: RrType,
    class: Class,
    ttl: u32,
    records: impl Iterator<Item = &'r [u8]>,
    out: &mut Vec<u8>,
) -> bool {
    let Some(surplus) = usize::from(signed_labels(owner)).checked_sub(labels.into()) else {
        return false;
    };
    let surplus = if surplus == 0 {
        0
    } else {
        surplus + usize::from(owner.is_wildcard())
    };
    let Some(base) = owner.skip(surplus) else {
        return false;
    };
    let mut head = Vec::with_capacity(base.wire().len() + 12);
    if surplus > 0 {
        head.extend_from_slice(b"\x01*");
    }
    head.extend_from_slice(base.wire());
    head.make_ascii_lowercase();
    head.extend_from_slice(&rr_type.0.to_be_bytes());
    head.extend_from_slice(&class.0.to_be_bytes());
    head.extend_from_slice(&ttl.to_be_bytes());
    let mut rows: Vec<Vec<u8>> = records
        .map(|rdata| {
            let mut row = Vec::with_capacity(rdata.len());
            canonical_into(rr_type, rdata, &mut row);
            row
        })
        .collect();
    rows.sort_unstable();
    rows.dedup();
    for row in &rows {
        out.extend_from_slice(&head);
        out.extend_from_slice(&(row.len() as u16).to_be_bytes());
        out.extend_from_slice(row);
    }
    true
}
