//! omnid-dns
