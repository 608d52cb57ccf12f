//! omnid-ground
