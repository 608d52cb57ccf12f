//! omnid-config
