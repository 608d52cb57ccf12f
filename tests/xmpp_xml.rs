//! What the XMPP service calls well-formed is what expat does, which most clients and servers read
//! with: a stanza that it refuses would end the stream of everybody that it is passed on to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::{collections::BTreeMap, time::Duration};

use omnid_xmpp::wire::{Element, Scope};
use support::{python_binary, run_with, tests};

/// Documents to compare on.
const COUNT: usize = 60_000;

/// Pieces of XML, right and wrong.
const PIECES: &[&str] = &[
    "<a>",
    "</a>",
    "<a/>",
    "<b:c>",
    "</b:c>",
    "<a b='1'>",
    "<a b='1' b='2'>",
    "<a b=\"1\" c='2'/>",
    "<a xmlns='u'>",
    "<a xmlns:b='u'>",
    "<b:c xmlns:b='u' b:d='1' d='2'/>",
    "<a xmlns:b=''/>",
    "<a xmlns:b='u' xmlns:c='u' b:x='1' c:x='2'/>",
    "<a xml:lang='en'/>",
    "<x:y/>",
    "<a x:y='1'/>",
    "<a b='<'/>",
    "<a b='&lt;'/>",
    "<a b='&#65;'/>",
    "<a b='&#0;'/>",
    "<a b='x\ty\nz'/>",
    "<a b = '1' />",
    "<a b='1'c='2'/>",
    "< a/>",
    "<a / >",
    "</a >",
    "</ a>",
    "<1/>",
    "<-/>",
    "<a.b-c_1/>",
    "<:a/>",
    "<a:/>",
    "<a:b:c/>",
    "<\u{e9}/>",
    "<a\u{300}/>",
    "<\u{300}/>",
    "<\u{221}/>",
    "<\u{10000}/>",
    "<a\u{b7}/>",
    "text",
    "&amp;",
    "&lt;",
    "&gt;",
    "&apos;",
    "&quot;",
    "&",
    "&;",
    "&x;",
    "&#65;",
    "&#x41;",
    "&#X41;",
    "&#xD800;",
    "&#xFFFE;",
    "&#x10FFFF;",
    "&#x110000;",
    "&#1;",
    "&#9;",
    "&#;",
    "&#x;",
    "]]>",
    "]]",
    ">",
    "<![CDATA[<&>]]>",
    "<![CDATA[]]>",
    "<![CDATA[",
    "<![CDATA[]]]]>",
    "\u{1}",
    "\t",
    "\r\n",
    "\u{7f}",
    "\u{85}",
    "\u{fffd}",
    "\u{fffe}",
    "\u{ffff}",
    "\u{1f600}",
    "\u{feff}",
    "<a xmlns:xml='u'/>",
    "<a xmlns:xmlns='u'/>",
    "<xmlns:a/>",
    "<a xmlns:b='http://www.w3.org/XML/1998/namespace'/>",
    "<a xmlns='http://www.w3.org/2000/xmlns/'/>",
    "<a xmlns=''/>",
    "<a b/>",
    "<a b=1/>",
    "<a b='1/>",
    "<",
];

/// A generator without ambition, the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

/// A document: mostly nested as it should be, sometimes with a byte broken.
fn document(random: &mut Random) -> Vec<u8> {
    let mut text = String::new();
    let wrapped = random.below(4) > 0;
    if wrapped {
        text.push_str("<r>");
    }
    for _ in 0..random.below(5) {
        let piece = PIECES[random.below(PIECES.len())];
        let name = piece
            .strip_prefix('<')
            .filter(|p| p.starts_with(char::is_alphabetic));
        let name = name.map(|p| p.split([' ', '>', '/']).next().unwrap());
        text.push_str(piece);
        if let Some(name) = name.filter(|_| !piece.ends_with("/>") && random.below(3) > 0) {
            text.push_str(PIECES[random.below(PIECES.len())]);
            text.push_str(&format!("</{name}>"));
        }
    }
    if wrapped {
        text.push_str("</r>");
    }
    let mut bytes = text.into_bytes();
    if random.below(10) == 0 && !bytes.is_empty() {
        let at = random.below(bytes.len());
        bytes[at] = u8::try_from(random.below(256)).unwrap();
    }
    bytes
}

#[test]
fn well_formed_is_what_expat_says() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let documents: Vec<_> = (0..COUNT).map(|_| document(&mut random)).collect();
    let hex: String = documents
        .iter()
        .map(|document| {
            document
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect::<String>()
                + "\n"
        })
        .collect();
    let script = tests().join("clients/expat_verdicts.py");
    let limit = Duration::from_secs(60);
    let verdicts = run_with(python_binary(), &[script], &hex, &[], limit)
        .success()
        .stdout;
    let verdicts: Vec<_> = verdicts.lines().map(|line| line == "1").collect();
    assert_eq!(verdicts.len(), documents.len());
    let (mut both, mut known) = (0, BTreeMap::new());
    for (document, expat) in documents.iter().zip(verdicts) {
        let ours = Element::parse(document, &Scope::empty()).is_ok();
        let text = String::from_utf8_lossy(document);
        match (ours, expat) {
            (true, true) => both += 1,
            (false, false) => {}
            (true, false) => panic!("passed on, and expat refuses it: {text:?}"),
            // A document may have more around its element than a stanza may.
            (false, true) => {
                let around = text.trim() != text || text.starts_with('\u{feff}');
                let banned = text.contains("<!--") || text.contains("<?");
                assert!(around || banned, "refused, and expat takes it: {text:?}");
                *known.entry((around, banned)).or_insert(0) += 1;
            }
        }
    }
    // Enough of each kind that the comparison means something.
    assert!(both > COUNT / 20, "only {both} documents are well-formed");
    println!("{both} of {COUNT} well-formed; more allowed around a document: {known:?}");
}
