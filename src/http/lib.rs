//! omnid-http
