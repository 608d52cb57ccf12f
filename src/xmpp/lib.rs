//! omnid-xmpp
