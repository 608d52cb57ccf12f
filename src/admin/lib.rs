//! omnid-admin
