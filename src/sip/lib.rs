//! omnid-sip
