//! Panics as log entries.

use std::backtrace::{Backtrace, BacktraceStatus};

/// Has panics logged where they happen, in the span they happen in, instead of printed beside the log.
/// Their backtrace comes along where `RUST_BACKTRACE` asks for it.
pub(crate) fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let message = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let message = message.unwrap_or("a value that is not text");
        let place = panic.location().map(ToString::to_string);
        let backtrace = Backtrace::capture();
        let backtrace =
            (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        let thread = std::thread::current();
        tracing::error!(place, thread = thread.name(), backtrace, "panic: {message}");
    }));
}
