//! From `tracing`'s spans and events to entries, and on to where they go.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use time::OffsetDateTime;
use tokio::sync::broadcast;
use tracing::span::{Attributes, Id, Record as SpanRecord};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::{LookupSpan, Scope};

use crate::config::{LogConfig, LogFormat};
use crate::metrics;
use crate::record::{Fields, Record, Value};
use crate::writer::{Destination, LineWriter};
use crate::{journal, json, text};

/// Lines that a reader of [`crate::Telemetry::tail`] may lag behind.
const TAIL: usize = 1024;

/// Where entries go, and in which form. Changes while it is used.
pub(crate) struct Output {
    pub(crate) current: ArcSwap<Form>,
    pub(crate) tail: broadcast::Sender<Arc<str>>,
}

/// A form and the place for it.
pub(crate) struct Form {
    format: LogFormat,
    color: bool,
    destination: Destination,
    pub(crate) writer: LineWriter,
}

impl Form {
    /// As `config` says; with the writer of `before` where that goes to the same place.
    pub(crate) fn open(
        config: &LogConfig,
        before: Option<&Self>,
    ) -> Result<Self, (PathBuf, io::Error)> {
        let destination = match (config.format, &config.file) {
            (LogFormat::Journald, _) => Destination::Socket(config.journal_socket.clone()),
            (LogFormat::Text | LogFormat::Json, Some(file)) => Destination::File(file.clone()),
            (LogFormat::Text | LogFormat::Json, None) => Destination::Stderr,
        };
        let writer = match before.filter(|before| before.destination == destination) {
            Some(before) => before.writer.clone(),
            None => LineWriter::open(&destination).map_err(|error| match &destination {
                Destination::File(path) | Destination::Socket(path) => (path.clone(), error),
                Destination::Stderr | Destination::Stdout => ("stderr".into(), error),
            })?,
        };
        // https://no-color.org
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let color = destination == Destination::Stderr && !plain && io::stderr().is_terminal();
        Ok(Self {
            format: config.format,
            color,
            destination,
            writer,
        })
    }

    fn write(&self, record: &Record) -> bool {
        match self.format {
            LogFormat::Text => self
                .writer
                .write(text::line(record, self.color).into_bytes()),
            LogFormat::Json => self.writer.write(json::line(record).into_bytes()),
            LogFormat::Journald => self.writer.write(journal::datagram(record)),
        }
    }
}

impl Output {
    pub(crate) fn new(form: Form) -> Arc<Self> {
        Arc::new(Self {
            current: ArcSwap::from_pointee(form),
            tail: broadcast::Sender::new(TAIL),
        })
    }

    fn put(&self, record: &Record) {
        if self.tail.receiver_count() > 0 {
            let line = text::line(record, false);
            // The only error is that nobody reads any more.
            drop(self.tail.send(line.trim_end_matches('\n').into()));
        }
        let form = self.current.load();
        if form.write(record) {
            let lost = form.writer.take_lost();
            if lost > 0 {
                metrics::counter(
                    "omnid_log_lost",
                    "Log lines lost because they could not be written.",
                    &[],
                )
                .inc_by(lost);
                form.write(&lines_lost(lost));
            }
        }
    }
}

fn lines_lost(lost: u64) -> Record {
    let mut fields = Fields::default();
    fields.push("lost", Value::Unsigned(lost));
    Record {
        time: OffsetDateTime::now_utc(),
        level: Level::WARN,
        target: module_path!().to_owned(),
        place: None,
        message: "log lines were lost because they could not be written in time".to_owned(),
        fields,
        spans: Vec::new(),
    }
}

/// The layer that makes entries of events.
pub(crate) struct Entries(pub(crate) Arc<Output>);

impl<S> Layer<S> for Entries
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(Arc::new(fields));
        }
    }

    fn on_record(&self, id: &Id, values: &SpanRecord<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Arc<Fields>>()
        {
            let fields: &mut Fields = Arc::make_mut(fields);
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let (target, place) = origin(event, &mut fields);
        let message = fields
            .take("message")
            .map(|message| message.to_string())
            .unwrap_or_default();
        let scope = context
            .event_scope(event)
            .into_iter()
            .flat_map(Scope::from_root);
        let spans = scope.map(|span| {
            let fields = span
                .extensions()
                .get::<Arc<Fields>>()
                .cloned()
                .unwrap_or_default();
            (span.name(), fields)
        });
        self.0.put(&Record {
            time: OffsetDateTime::now_utc(),
            level: *metadata.level(),
            target,
            place,
            message,
            fields,
            spans: spans.collect(),
        });
    }
}

/// Where an event comes from. One of the `log` crate brings that along in fields.
fn origin(event: &Event<'_>, fields: &mut Fields) -> (String, Option<(String, u32)>) {
    let metadata = event.metadata();
    if metadata.target() == "log"
        && let Some(target) = fields.take("log.target")
    {
        for name in ["log.module_path", "log.file", "log.line"] {
            fields.take(name);
        }
        return (target.to_string(), None);
    }
    let place = metadata
        .file()
        .map(|file| (file.to_owned(), metadata.line().unwrap_or(0)));
    (metadata.target().to_owned(), place)
}
