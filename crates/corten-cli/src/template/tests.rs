use std::rc::Rc;

use serde_json::json;

use serde_json::Value as Json;

use super::value::Keys;
use super::{Mode, Value, execute, parse};

/// JSON with Go's obvious types: numbers are integers, maps hold one type.
fn typed(json: &Json) -> Value {
    match json {
        Json::Number(number) => Value::Int(number.as_i64().unwrap()),
        Json::Array(items) => Value::List(Rc::new(items.iter().map(typed).collect())),
        Json::Object(fields) => {
            let entries = fields.iter().map(|(key, value)| (key.clone(), typed(value))).collect();
            Value::Map(Rc::new(entries), Keys::Texts)
        }
        other => Value::from_json(other),
    }
}

fn run(text: &str) -> String {
    let value = typed(&json!({
        "Name": "web", "N": 3, "Zero": 0, "Empty": "", "On": true, "Null": null,
        "List": ["x", "y", "z"], "Map": {"b": 2, "a": 1}, "Deep": {"In": {"Side": "here"}},
        "Html": "<a href='x'>&</a>"
    }));
    match parse(text).and_then(|template| execute(&template, &value, Mode::Row)) {
        Ok(text) => text,
        Err(error) => format!("ERROR {error}"),
    }
}

/// Each pair is what Go's text/template prints.
#[test]
fn the_language_is_go_s() {
    for (template, want) in [
        ("plain", "plain"),
        ("{{.Name}}", "web"),
        ("{{ .Name }} {{.N}}", "web 3"),
        ("a {{- .Name -}} b", "awebb"),
        ("{{/* nothing */}}x", "x"),
        ("{{.Deep.In.Side}}", "here"),
        ("{{.Nope}}", "<no value>"),
        ("{{.List}} {{.Map}}", "[x y z] map[a:1 b:2]"),
        ("{{if .On}}yes{{else}}no{{end}}", "yes"),
        ("{{if .Zero}}yes{{else if .Empty}}maybe{{else}}no{{end}}", "no"),
        ("{{with .Deep.In}}{{.Side}}{{end}}", "here"),
        ("{{with .Empty}}x{{else}}none{{end}}", "none"),
        ("{{range .List}}[{{.}}]{{end}}", "[x][y][z]"),
        ("{{range $i, $v := .List}}{{if $i}},{{end}}{{$v}}{{end}}", "x,y,z"),
        ("{{range $k, $v := .Map}}{{$k}}={{$v}};{{end}}", "a=1;b=2;"),
        ("{{range .Null}}x{{else}}empty{{end}}", "empty"),
        ("{{range .List}}{{if eq . \"y\"}}{{break}}{{end}}{{.}}{{end}}", "x"),
        ("{{range .List}}{{if eq . \"y\"}}{{continue}}{{end}}{{.}}{{end}}", "xz"),
        ("{{$x := .N}}{{$x}}{{$x = 4}}{{$x}}", "34"),
        ("{{with $x := .Name}}{{$x}}{{$.N}}{{end}}", "web3"),
        ("{{define \"t\"}}<{{.}}>{{end}}{{template \"t\" .Name}}", "<web>"),
        ("{{block \"b\" .Name}}({{.}}){{end}}", "(web)"),
        ("{{printf \"%s-%d\" .Name .N}}", "web-3"),
        ("{{printf \"%q %v %05d|%-5s|%5s|\" .Name .On .N \"a\" \"b\"}}", "\"web\" true 00003|a    |    b|"),
        ("{{printf \"%d\" .Name}}", "%!d(string=web)"),
        ("{{println .Name .N}}", "web 3\n"),
        ("{{print 1 2 \"a\" \"b\"}}", "1 2a b".replace("a b", "ab").as_str()),
        ("{{len .List}} {{len .Name}} {{len .Map}}", "3 3 2"),
        ("{{index .List 1}} {{index .Map \"a\"}}", "y 1"),
        ("{{slice .Name 1 2}} {{slice .List 1}}", "e [y z]"),
        ("{{and .On .Name}} {{or .Empty .N}} {{not .On}}", "web 3 false"),
        (
            "{{eq .N 3}} {{ne .N 3}} {{lt .N 4}} {{ge .N 4}} {{eq .Name \"a\" \"web\"}}",
            "true false true false true",
        ),
        ("{{.Name | printf \"%s!\" | upper}}", "WEB!"),
        ("{{(index .List 0) | title}}", "X"),
        ("{{html .Html}}", "&lt;a href=&#39;x&#39;&gt;&amp;&lt;/a&gt;"),
        ("{{urlquery \"a b&c\"}} {{js \"it's\"}}", "a+b%26c it\\'s"),
        ("{{json .List}} {{json .Name}} {{json .Null}}", "[\"x\",\"y\",\"z\"] \"web\" null"),
        ("{{join .List \"-\"}} {{split \"a,b\" \",\"}}", "x-y-z [a b]"),
        (
            "{{lower \"AB\"}} {{title \"hello world\"}} {{pad .Name 1 2}}| {{truncate .Name 2}}",
            "ab Hello World  web  | we",
        ),
        ("{{`raw \\n`}} {{\"a\\tb\"}} {{'a'}} {{0x10}} {{1.5}}", "raw \\n a\tb 97 16 1.5"),
    ] {
        assert_eq!(run(template), want, "{template}");
    }
}

#[test]
fn mistakes_are_told_as_go_tells_them() {
    for (template, want) in [
        ("{{.Name", "template: :1: unclosed action"),
        ("{{nope}}", "template: :1: function \"nope\" not defined"),
        ("{{if .On}}", "template: :1: unexpected EOF"),
        ("{{end}}", "template: :1: unexpected {{end}}"),
        ("{{$x}}", "template: :1: undefined variable \"$x\""),
        ("{{}}", "template: :1: missing value for command"),
        (
            "{{.Name.Foo}}",
            "template: :1:7: executing \"\" at <.Name.Foo>: can't evaluate field Foo in type string",
        ),
        (
            "{{index .List 9}}",
            "template: :1:2: executing \"\" at <index .List 9>: error calling index: index out of range: 9",
        ),
    ] {
        assert_eq!(run(template), format!("ERROR {want}"), "{template}");
    }
}

#[test]
fn lists_of_nothing_and_absent_values_print_as_go_prints_them() {
    assert_eq!(Value::List(Rc::new(Vec::new())).print(), "[]");
    assert_eq!(Value::Nil.print(), "<no value>");
    assert_eq!(Value::NilPointer.print(), "<nil>");
    assert_eq!(Value::Float(1e21).print(), "1e+21");
    assert_eq!(Value::Float(0.5).print(), "0.5");
}
