//! omnid-tls
