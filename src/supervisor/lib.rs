//! omnid-supervisor
