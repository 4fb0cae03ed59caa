//! The daemon's own log, on standard error: one line an event, as dockerd's readers expect them, or JSON.
//!
//! Every value is quoted when it holds anything but plain characters, so that nothing from outside can forge a line or reach a terminal.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use super::settings::LogFormat;

/// Changes the threshold of a log that is running.
pub struct LevelSwitch(Box<dyn Fn(LevelFilter) + Send + Sync>);

impl LevelSwitch {
    /// From now on only this level and graver ones.
    pub fn set(&self, level: LevelFilter) {
        (self.0)(level);
    }
}

/// Starts the log of this process.
pub fn init(format: LogFormat, level: LevelFilter) -> LevelSwitch {
    let (filter, handle) = reload::Layer::new(level);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).event_format(Lines(format));
    // A second start in one process (tests) keeps the first log.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    LevelSwitch(Box::new(move |level| {
        let _ = handle.modify(|current| *current = level);
    }))
}

struct Lines(LogFormat);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let time = jiff::Timestamp::now();
        let level = level_word(*event.metadata().level());
        match self.0 {
            LogFormat::Text => writeln!(writer, "{}", text_line(&time.to_string(), level, &fields)),
            LogFormat::Json => writeln!(writer, "{}", json_line(&time.to_string(), level, &fields)),
        }
    }
}

fn level_word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => self.others.push((name, value.to_owned())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

fn text_line(time: &str, level: &str, fields: &Fields) -> String {
    let mut line = format!("time=\"{time}\" level={level} msg={:?}", fields.message);
    for (name, value) in &fields.others {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._/@^+".contains(&b);
        let quoted = value.is_empty() || !value.bytes().all(plain);
        let _ = if quoted { write!(line, " {name}={value:?}") } else { write!(line, " {name}={value}") };
    }
    line
}

fn json_line(time: &str, level: &str, fields: &Fields) -> String {
    let mut object = serde_json::Map::new();
    for (name, value) in &fields.others {
        object.insert((*name).to_owned(), value.as_str().into());
    }
    object.insert("level".into(), level.into());
    object.insert("msg".into(), fields.message.as_str().into());
    object.insert("time".into(), time.into());
    serde_json::Value::Object(object).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_inside_its_value() {
        let fields = Fields {
            message: "a \"b\"\nlevel=fatal \u{1b}[2J".into(),
            others: vec![("id", "x1".into()), ("path", "/a b".into())],
        };
        assert_eq!(
            text_line("T", "info", &fields),
            r#"time="T" level=info msg="a \"b\"\nlevel=fatal \u{1b}[2J" id=x1 path="/a b""#
        );
        let json = json_line("T", "info", &fields);
        assert_eq!(
            json,
            r#"{"id":"x1","path":"/a b","level":"info","msg":"a \"b\"\nlevel=fatal \u001b[2J","time":"T"}"#
        );
    }
}
