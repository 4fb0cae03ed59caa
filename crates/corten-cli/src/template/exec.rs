//! Running a template.

use std::rc::Rc;

use super::ast::{Node, Operand, OperandKind, Pipeline, Template};
use super::functions;
use super::{TemplateError, Value};

/// What a template runs for: a row of output, or the head of a table, where functions leave titles as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Values.
    Row,
    /// Titles.
    Header,
    /// Raw JSON: a missing key is an error, not `<no value>`.
    Strict,
}

/// Runs a template on a value.
pub fn execute(template: &Template, value: &Value, mode: Mode) -> Result<String, TemplateError> {
    let mut run = Run {
        template,
        mode,
        out: String::new(),
        variables: vec![("$".to_owned(), value.clone())],
        depth: 0,
    };
    run.nodes(&template.body, value)?;
    Ok(run.out)
}

const DEEPEST: usize = 200;

struct Run<'a> {
    template: &'a Template,
    mode: Mode,
    out: String,
    variables: Vec<(String, Value)>,
    depth: usize,
}

/// How a list of nodes ended.
#[derive(PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

type Ran<T> = Result<T, TemplateError>;

impl Run<'_> {
    fn error(&self, operand: &Operand, what: &str) -> TemplateError {
        let (line, column) = self.template.place(operand.at);
        // Go points behind a chain's first name.
        let column = column
            + operand.text[1..]
                .find('.')
                .map_or(0, |dot| if operand.text.starts_with('.') { dot + 1 } else { 0 });
        TemplateError(format!("template: :{line}:{column}: executing \"\" at <{}>: {what}", operand.text))
    }

    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Ran<Flow> {
        for node in nodes {
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Action(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.declared.is_empty() {
                        self.out.push_str(&value.print());
                    }
                }
                Node::If(pipeline, body, otherwise) => {
                    let known = self.variables.len();
                    let yes = self.pipeline(pipeline, dot)?.truth();
                    let flow = self.nodes(if yes { body } else { otherwise }, dot)?;
                    self.variables.truncate(known);
                    if flow != Flow::On {
                        return Ok(flow);
                    }
                }
                Node::With(pipeline, body, otherwise) => {
                    let known = self.variables.len();
                    let value = self.pipeline(pipeline, dot)?;
                    let flow =
                        if value.truth() { self.nodes(body, &value)? } else { self.nodes(otherwise, dot)? };
                    self.variables.truncate(known);
                    if flow != Flow::On {
                        return Ok(flow);
                    }
                }
                Node::Range(pipeline, body, otherwise) => self.range(pipeline, body, otherwise, dot)?,
                Node::Call(name, argument) => self.call(name, argument.as_ref(), dot)?,
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
        }
        Ok(Flow::On)
    }

    fn range(&mut self, pipeline: &Pipeline, body: &[Node], otherwise: &[Node], dot: &Value) -> Ran<()> {
        let known = self.variables.len();
        let value = self.evaluate(pipeline, dot)?;
        let pairs: Vec<(Value, Value)> = match value.followed() {
            Value::List(items) => {
                items.iter().enumerate().map(|(i, item)| (Value::Int(i as i64), item.clone())).collect()
            }
            Value::Map(map, _) => map.iter().map(|(k, v)| (Value::Text(k.clone()), v.clone())).collect(),
            Value::Int(n) => (0..*n).map(|i| (Value::Int(i), Value::Int(i))).collect(),
            Value::Nil | Value::NilPointer => Vec::new(),
            other => {
                let operand = &pipeline.commands[0][0];
                return Err(self.error(operand, &format!("range can't iterate over {}", other.print())));
            }
        };
        if pairs.is_empty() {
            self.nodes(otherwise, dot)?;
            return Ok(());
        }
        for (key, item) in pairs {
            match pipeline.declared.as_slice() {
                [only] => self.variables.push((only.clone(), item.clone())),
                [first, second] => {
                    self.variables.push((first.clone(), key));
                    self.variables.push((second.clone(), item.clone()));
                }
                _ => {}
            }
            let flow = self.nodes(body, &item)?;
            self.variables.truncate(known);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(())
    }

    fn call(&mut self, name: &str, argument: Option<&Pipeline>, dot: &Value) -> Ran<()> {
        let value = argument.map_or(Ok(Value::Nil), |pipeline| self.pipeline(pipeline, dot))?;
        let Some(body) = self.template.defined.get(name) else {
            return Err(TemplateError(format!("template: \"{name}\" not defined")));
        };
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(TemplateError(format!("template: exceeded maximum template depth ({DEEPEST})")));
        }
        let outer = std::mem::replace(&mut self.variables, vec![("$".to_owned(), value.clone())]);
        self.nodes(body, &value)?;
        self.variables = outer;
        self.depth -= 1;
        Ok(())
    }

    /// A pipeline's value, with its variables set.
    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Ran<Value> {
        let value = self.evaluate(pipeline, dot)?;
        for name in &pipeline.declared {
            if pipeline.assigns {
                if let Some((_, old)) = self.variables.iter_mut().rev().find(|(known, _)| known == name) {
                    *old = value.clone();
                }
            } else {
                self.variables.push((name.clone(), value.clone()));
            }
        }
        Ok(value)
    }

    fn evaluate(&mut self, pipeline: &Pipeline, dot: &Value) -> Ran<Value> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.unwrap_or(Value::Nil))
    }

    fn command(&mut self, words: &[Operand], piped: Option<Value>, dot: &Value) -> Ran<Value> {
        let (first, rest) = (&words[0], &words[1..]);
        match &first.kind {
            OperandKind::Function(name) => {
                // These two evaluate only what they need.
                if matches!(name.as_str(), "and" | "or") {
                    return self.logic(name, rest, piped, dot);
                }
                let mut arguments = self.operands(rest, dot)?;
                arguments.extend(piped);
                // A list of untyped JSON holds anything, which is no list of texts to Go.
                if let (Mode::Strict, "join", Some(Value::List(_)), Some(operand)) =
                    (self.mode, name.as_str(), arguments.first(), rest.first())
                    && matches!(operand.kind, OperandKind::Field(_))
                {
                    let what = "wrong type for value; expected []string; got []interface {}";
                    return Err(self.error(operand, what));
                }
                functions::call(name, &arguments, self.mode).map_err(|what| {
                    let what = if what.contains("number of args") || what.starts_with("wrong type") {
                        what
                    } else {
                        format!("error calling {name}: {what}")
                    };
                    // Go tells the whole call.
                    let end = words.last().map_or(first.at, |last| last.at + last.text.len());
                    let (line, column) = self.template.place(first.at);
                    let text = &self.template.source[first.at..end];
                    TemplateError(format!("template: :{line}:{column}: executing \"\" at <{text}>: {what}"))
                })
            }
            OperandKind::Field(names) => {
                let mut arguments = self.operands(rest, dot)?;
                arguments.extend(piped);
                self.fields(first, dot, names, &arguments)
            }
            OperandKind::Variable(..) | OperandKind::Parenthesis(..) if !rest.is_empty() => {
                let mut arguments = self.operands(rest, dot)?;
                arguments.extend(piped);
                let (start, names) = match &first.kind {
                    OperandKind::Variable(name, names) => (self.variable(name), names),
                    OperandKind::Parenthesis(pipeline, names) => {
                        (self.evaluate(&Rc::clone(pipeline), dot)?, names)
                    }
                    _ => return Ok(Value::Nil),
                };
                self.fields(first, &start, names, &arguments)
            }
            _ if !rest.is_empty() || piped.is_some() => {
                Err(self.error(first, &format!("can't give argument to non-function {}", first.text)))
            }
            OperandKind::Nil => Err(self.error(first, "nil is not a command")),
            _ => self.operand(first, dot),
        }
    }

    fn logic(&mut self, name: &str, rest: &[Operand], piped: Option<Value>, dot: &Value) -> Ran<Value> {
        let mut value = Value::Nil;
        for operand in rest {
            value = self.operand(operand, dot)?;
            if value.truth() == (name == "or") {
                return Ok(value);
            }
        }
        Ok(piped.unwrap_or(value))
    }

    fn operands(&mut self, words: &[Operand], dot: &Value) -> Ran<Vec<Value>> {
        words.iter().map(|word| self.operand(word, dot)).collect()
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Ran<Value> {
        match &operand.kind {
            OperandKind::Dot => Ok(dot.clone()),
            OperandKind::Nil => Ok(Value::Nil),
            OperandKind::Literal(value) => Ok(value.clone()),
            OperandKind::Field(names) => self.fields(operand, dot, names, &[]),
            OperandKind::Variable(name, names) => {
                let value = self.variable(name);
                self.fields(operand, &value, names, &[])
            }
            OperandKind::Parenthesis(pipeline, names) => {
                let value = self.evaluate(&Rc::clone(pipeline), dot)?;
                self.fields(operand, &value, names, &[])
            }
            OperandKind::Function(name) => {
                functions::call(name, &[], self.mode).map_err(|what| self.error(operand, &what))
            }
        }
    }

    fn variable(&self, name: &str) -> Value {
        let found = self.variables.iter().rev().find(|(known, _)| known == name);
        found.map_or(Value::Nil, |(_, value)| value.clone())
    }

    fn fields(&self, operand: &Operand, start: &Value, names: &[String], arguments: &[Value]) -> Ran<Value> {
        let mut value = start.clone();
        for (i, name) in names.iter().enumerate() {
            let arguments = if i + 1 == names.len() { arguments } else { &[] };
            value = self.field(operand, &value, name, arguments)?;
        }
        Ok(value)
    }

    fn field(&self, operand: &Operand, value: &Value, name: &str, arguments: &[Value]) -> Ran<Value> {
        // Untyped JSON has only one type.
        let kind = if self.mode == Mode::Strict { "interface {}".to_owned() } else { value.type_name() };
        let absent = || self.error(operand, &format!("can't evaluate field {name} in type {kind}"));
        match value.followed() {
            Value::Row(row) => row.field(name, arguments).ok_or_else(absent),
            Value::Struct(fields) => fields.field(name).ok_or_else(absent),
            Value::Map(map, _) => match map.get(name) {
                Some(value) => Ok(value.clone()),
                None if self.mode == Mode::Strict => {
                    Err(self.error(operand, &format!("map has no entry for key \"{name}\"")))
                }
                None => Ok(Value::Nil),
            },
            Value::Nil if self.mode == Mode::Header => Ok(Value::Nil),
            Value::Nil => Err(self.error(operand, &format!("nil data; no entry for key \"{name}\""))),
            Value::NilPointer => {
                Err(self.error(operand, &format!("nil pointer evaluating {}.{name}", value.type_name())))
            }
            _ => Err(absent()),
        }
    }
}
