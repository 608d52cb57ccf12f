//! omnid-identity
