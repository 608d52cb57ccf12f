//! omnid-store
