//! Tables and `--format`: rows through a template, in columns where the format says `table`.

mod tabwriter;
pub mod text;
pub mod units;

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::error::{Failure, Outcome};
use crate::template::{self, Mode, Row, Value};

/// A field's value, or how to come by it.
enum Cell {
    Now(Value),
    Later(Box<dyn Fn() -> Value>),
}

/// A row: its fields by the names that templates use.
pub struct Record {
    kind: &'static str,
    fields: Vec<(&'static str, Cell)>,
    labels: BTreeMap<String, String>,
}

impl Record {
    /// A row without fields; `kind` is the name of docker's Go type, which errors tell.
    pub fn new(kind: &'static str) -> Self {
        Self { kind, fields: Vec::new(), labels: BTreeMap::new() }
    }

    /// With a field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((name, Cell::Now(value.into())));
        self
    }

    /// With a field that is worked out only where a template asks for it: a time zone costs more than a whole table.
    #[must_use]
    pub fn later(mut self, name: &'static str, value: impl Fn() -> String + 'static) -> Self {
        self.fields.push((name, Cell::Later(Box::new(move || value().into()))));
        self
    }

    /// With labels: the field `Labels` and the method `Label`.
    #[must_use]
    pub fn labels(mut self, labels: &BTreeMap<String, String>) -> Self {
        let text: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        self.fields.push(("Labels", Cell::Now(text.join(",").into())));
        self.labels.clone_from(labels);
        self
    }
}

impl Row for Record {
    fn field(&self, name: &str, arguments: &[Value]) -> Option<Value> {
        match (name, arguments) {
            ("Label", [Value::Text(key)]) => Some(self.labels.get(key).cloned().unwrap_or_default().into()),
            (_, []) => self.fields.iter().find(|(known, _)| *known == name).map(|(_, cell)| match cell {
                Cell::Now(value) => value.clone(),
                Cell::Later(value) => value(),
            }),
            _ => None,
        }
    }

    fn names(&self) -> Vec<&'static str> {
        self.fields.iter().map(|(name, _)| *name).collect()
    }

    fn type_name(&self) -> &'static str {
        self.kind
    }
}

/// The first line of a table: each field is its title, and a label's title is the last word of its key.
struct Head(Titles);

impl Row for Head {
    fn field(&self, name: &str, arguments: &[Value]) -> Option<Value> {
        match (name, arguments) {
            ("Label", [Value::Text(key)]) => {
                let last = key.rsplit('.').next().unwrap_or_default();
                Some(last.replace(['-', '_'], " ").into())
            }
            _ => Some(
                self.0
                    .iter()
                    .find(|(field, _)| *field == name)
                    .map_or(Value::Nil, |(_, title)| (*title).into()),
            ),
        }
    }

    fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|(field, _)| *field).collect()
    }

    fn type_name(&self) -> &'static str {
        "Head"
    }
}

/// A table's columns: the field and its title.
pub type Titles = &'static [(&'static str, &'static str)];

/// Text with tabs in columns at least `minimum` wide.
pub fn columns(text: &str, minimum: usize, padding: usize) -> String {
    tabwriter::align(text, minimum, padding)
}

/// Whether a format asks for columns.
pub fn is_table(format: &str) -> bool {
    format.starts_with("table")
}

/// Rows as `format` says: a template, `table` and a template, or `json`.
pub fn render(format: &str, titles: Titles, rows: Vec<Record>) -> Outcome<String> {
    let wrong = |error: template::TemplateError| {
        Failure::new(format!("template parsing error: {error}")).with_code(64)
    };
    let text = match format {
        "table" => String::new(),
        "json" => "{{json .}}".to_owned(),
        _ => {
            let text = format.strip_prefix("table").unwrap_or(format);
            text.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n")
        }
    };
    let template = template::parse(&text).map_err(wrong)?;
    let mut out = String::new();
    if is_table(format) {
        let head = Value::Row(Rc::new(Head(titles)));
        // A head that cannot be made is left out; the rows tell what is wrong.
        out.push_str(&template::execute(&template, &head, Mode::Header).unwrap_or_default());
        out.push('\n');
    }
    for row in rows {
        out.push_str(&template::execute(&template, &Value::Row(Rc::new(row)), Mode::Row).map_err(wrong)?);
        out.push('\n');
    }
    Ok(if is_table(format) { tabwriter::align(&out, 10, 3) } else { out })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TITLES: Titles = &[("ID", "CONTAINER ID"), ("Name", "NAMES")];

    fn rows() -> Vec<Record> {
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        vec![
            Record::new("x").with("ID", "1").with("Name", "web").labels(&labels),
            Record::new("x").with("ID", "22222222222222").with("Name", "db").labels(&BTreeMap::new()),
        ]
    }

    #[test]
    fn formats_are_tables_templates_or_json() {
        let show = |format: &str| render(format, TITLES, rows()).unwrap();
        assert_eq!(
            show("table {{.ID}}\t{{.Name}}"),
            "CONTAINER ID     NAMES\n1                web\n22222222222222   db\n"
        );
        assert_eq!(show("{{.Name}}\\t{{.ID}}"), "web\t1\ndb\t22222222222222\n");
        assert_eq!(show("{{.Label \"a\"}}"), "b\n\n");
        assert_eq!(show("json").lines().next(), Some(r#"{"ID":"1","Labels":"a=b","Name":"web"}"#));
        assert_eq!(show("table {{upper .Name}}"), "NAMES\nWEB\nDB\n");
        assert_eq!(show("table {{.Label \"org.my-key\"}}|"), "my key|\n|\n|\n");
    }

    #[test]
    fn unknown_fields_are_errors() {
        let error = render("{{.Nope}}", TITLES, rows()).unwrap_err();
        assert_eq!(
            error.text,
            "template parsing error: template: :1:2: executing \"\" at <.Nope>: can't evaluate field Nope in type *x"
        );
    }
}
