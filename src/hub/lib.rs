//! omnid-hub
