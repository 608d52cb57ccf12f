//! omnid-telemetry
