//! omnid-net
