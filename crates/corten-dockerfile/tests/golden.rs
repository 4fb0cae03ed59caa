//! Every `testdata/<suite>/<case>/input` gives exactly its `expected`. `CORTEN_BLESS=1` writes what is given now.

use std::fmt::Write as _;
use std::path::Path;

use corten_dockerfile::{Ast, ParseError, Program};

fn check(suite: &str, show: impl Fn(&[u8]) -> Result<String, ParseError>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(suite);
    let mut cases: Vec<_> = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(!cases.is_empty(), "no cases in {}", root.display());
    let mut wrong = String::new();
    for case in cases {
        let input = std::fs::read(case.join("input")).unwrap();
        let given = show(&input).unwrap_or_else(|error| format!("error: {error}\n"));
        let expected = case.join("expected");
        if std::env::var_os("CORTEN_BLESS").is_some() {
            std::fs::write(&expected, &given).unwrap();
        }
        let wanted = std::fs::read_to_string(&expected).unwrap_or_default();
        if given != wanted {
            writeln!(wrong, "{}\n--- expected\n{wanted}--- given\n{given}", case.display()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn syntax_trees() {
    check("ast", |input| {
        let ast = Ast::parse(input)?;
        let mut text = String::new();
        if let Some(syntax) = &ast.directives.syntax {
            writeln!(text, "syntax {syntax}").unwrap();
        }
        if ast.directives.escape != '\\' {
            writeln!(text, "escape {}", ast.directives.escape).unwrap();
        }
        write!(text, "{ast}").unwrap();
        Ok(text)
    });
}

#[test]
fn programs() {
    check("program", |input| {
        let program = Program::from_ast(&Ast::parse(input)?)?;
        let mut text = String::new();
        for arg in &program.global_args {
            writeln!(text, "{} {:?}", arg.span.first_line, arg.definitions).unwrap();
        }
        for stage in &program.stages {
            writeln!(text, "{} FROM {} AS {:?}", stage.span.first_line, stage.base, stage.name).unwrap();
            for instruction in &stage.instructions {
                writeln!(text, "  {} {:?}", instruction.span.first_line, instruction.item).unwrap();
            }
        }
        Ok(text)
    });
}

#[test]
fn spans_point_at_the_bytes() {
    let source = "FROM a\nCOPY --from=b \\\n --chown=c \\\n  d e\nRUN <<X\nx\nX\n";
    let ast = Ast::parse(source.as_bytes()).unwrap();
    let copy = &ast.nodes[1];
    assert_eq!((copy.span.first_line, copy.span.last_line), (2, 4));
    assert_eq!(&source[copy.span.start..copy.span.end], "COPY --from=b \\\n --chown=c \\\n  d e");
    let flags: Vec<_> = copy
        .flags
        .iter()
        .map(|flag| (flag.span.first_line, &source[flag.span.start..flag.span.end]))
        .collect();
    assert_eq!(flags, [(2, "--from=b"), (3, "--chown=c")]);
    let run = &ast.nodes[2];
    assert_eq!((run.span.first_line, run.span.last_line), (5, 7));
    assert_eq!(&source[run.span.start..run.span.end], "RUN <<X\nx\nX\n");
}
