//! omnid-script
