use super::*;
use crate::wire::entity::unescape;

fn check(text: &str) -> Result<(), Flaw> {
    scan(text.as_bytes(), &Scope::client(), &mut ())
}

#[test]
fn well_formed() {
    for text in [
        "<a/>",
        "<a></a>",
        "<a ></a >",
        "<a b='1' c = \"2\"\n/>",
        "<a>&lt;&gt;&amp;&apos;&quot;&#65;&#x1F600;&#0065;</a>",
        "<a b='&lt;>\"'>]] > ]] ></a>",
        "<a>></a>",
        "<a><![CDATA[]] <b> & ]]]]><![CDATA[>]]></a>",
        "<a xml:lang='en' xmlns:xml='http://www.w3.org/XML/1998/namespace'/>",
        "<stream:error/>",
        "<p:a xmlns:p='u' p:b='1' b='2'/>",
        "<a xmlns=''><b xmlns='u'/></a>",
        "<a xmlns:p='u'><p:b/><c xmlns:p='v' p:d='1'/></a>",
        "<é日 ه='\u{10ffff}'/>",
        "<a>\u{85}\u{7f}\t\r\n</a>",
    ] {
        assert_eq!(check(text), Ok(()), "{text}");
    }
}

#[test]
fn ill_formed() {
    for text in [
        "",
        " ",
        "<",
        "<a",
        "<a>",
        "<a></b>",
        "<a/><b/>",
        "<a/> ",
        " <a/>",
        "<1a/>",
        "<-a/>",
        "< a/>",
        "<a / >",
        "</a>",
        "<a><b></a></b>",
        "<a b/>",
        "<a b=1/>",
        "<a b='1/>",
        "<a b='1'c='2'/>",
        "<a b='1' b='2'/>",
        "<a b='<'/>",
        "<a>]]></a>",
        "<a>&</a>",
        "<a>&amp</a>",
        "<a>&;</a>",
        "<a>&#;</a>",
        "<a>&#x;</a>",
        "<a>&#X41;</a>",
        "<a>&#-1;</a>",
        "<a>&#+65;</a>",
        "<a>&#0;</a>",
        "<a>&#x1F;</a>",
        "<a>&#xD800;</a>",
        "<a>&#xFFFE;</a>",
        "<a>&#x110000;</a>",
        "<a>&#99999999999;</a>",
        "<a>&# 65;</a>",
        "<a b='&'/>",
        "<a b='&#1;'/>",
        "<a>\u{1}</a>",
        "<a>\u{fffe}</a>",
        "<a b='\u{ffff}'/>",
        "<a>\u{0}</a>",
        "<p:a/>",
        "<a p:b='1'/>",
        "<:a/>",
        "<a:/>",
        "<stream:1/>",
        "<stream:a:b/>",
        "<a xmlns:p=''/>",
        "<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>",
        "<a xmlns:xml='u'/>",
        "<a xmlns:xmlns='u'/>",
        "<xmlns:a/>",
        "<a xmlns='http://www.w3.org/2000/xmlns/'/>",
        "<a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>",
        "<a xmlns:p='u' xmlns:q='&#117;' p:b='1' q:b='2'/>",
        "<a xmlns:p='u'><b/></a><p:c/>",
        "<a><b xmlns:p='u'/><p:c/></a>",
        "<a><![CDATA[</a>",
        "<\u{10000}/>",
        "<a>\u{feff}</a",
        "x",
        "<a/>x",
    ] {
        assert_eq!(check(text), Err(Flaw::NotWellFormed), "{text}");
    }
    let broken: [&[u8]; 5] = [
        b"<a>\xff</a>",
        b"<a>\xc0\x80</a>",
        b"<a>\xed\xa0\x80</a>",
        b"<a b='\xc3'/>",
        b"<\xe9/>",
    ];
    for bytes in broken {
        let seen = scan(bytes, &Scope::empty(), &mut ());
        assert_eq!(seen, Err(Flaw::NotWellFormed), "{bytes:x?}");
    }
}

#[test]
fn restricted() {
    for text in [
        "<a><!-- b --></a>",
        "<a><?b c?></a>",
        "<a><!DOCTYPE b></a>",
        "<a>&lol;</a>",
        "<a b='&lol;'/>",
        "<a><![CDAT[]]></a>",
    ] {
        assert_eq!(check(text), Err(Flaw::Restricted), "{text}");
    }
}

#[test]
fn bounds() {
    let nested = |n| format!("{}{}", "<a>".repeat(n), "</a>".repeat(n));
    assert_eq!(check(&nested(64)), Ok(()));
    assert_eq!(check(&nested(65)), Err(Flaw::TooDeep));
    let attributes = |n| (0..n).map(|i| format!(" b{i}=''")).collect::<String>();
    assert_eq!(check(&format!("<a{}/>", attributes(64))), Ok(()));
    assert_eq!(
        check(&format!("<a{}/>", attributes(65))),
        Err(Flaw::TooMany)
    );
    let bindings = |n| {
        (0..n)
            .map(|i| format!(" xmlns:b{i}='u'"))
            .collect::<String>()
    };
    assert_eq!(check(&format!("<a{}/>", bindings(32))), Ok(()));
    assert_eq!(check(&format!("<a{}/>", bindings(33))), Err(Flaw::TooMany));
    assert_eq!(
        check(&format!(
            "<a>{}</a>",
            format!("<a{}/>", bindings(32)).repeat(9)
        )),
        Ok(())
    );
}

#[test]
fn declarations() {
    let header = |text: &str| {
        scan_header(text.as_bytes(), |tag, scope| (tag.local.to_owned(), scope)).map(|t| t.0)
    };
    for text in [
        "<?xml version='1.0'?><s>",
        "<?xml version=\"1.0\" encoding=\"utf-8\" ?>\n<s>",
        "<?xml version='1.0' encoding='UTF-8' standalone='yes'?><s>",
        " <s a='1'>",
    ] {
        assert_eq!(header(text).as_deref(), Ok("s"), "{text}");
    }
    for text in [
        "<?xml?><s>",
        "<?xml encoding='UTF-8'?><s>",
        "<?xml version='1.1'?><s>",
        "<s/>",
        "<s>x",
        "<?xml version='1.0' standalone='yes' encoding='UTF-8'?><s>",
        "x<s>",
        "<p:s>",
        "<?xml version='1.0'encoding='UTF-8'?><s>",
        "<?xmlversion='1.0'?><s>",
        "<?xml version='1.0'?>x<s>",
        "<?xml version='1.0' version='1.0'?><s>",
    ] {
        assert_eq!(header(text), Err(Flaw::NotWellFormed), "{text}");
    }
    let latin = header("<?xml version='1.0' encoding='ISO-8859-1'?><s>");
    assert_eq!(latin, Err(Flaw::Encoding));
}

#[test]
fn values() {
    assert_eq!(unescape("a&lt;b\r\nc\rd"), "a<b\nc\nd");
    assert_eq!(normalise("a\tb\r\nc&#10;d"), "a b c\nd");
    assert_eq!(unescape("plain"), "plain");
}
