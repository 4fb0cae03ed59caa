//! No bytes make the parser panic, recurse without bound, or point outside the source.

use corten_dockerfile::ignore::Patterns;
use corten_dockerfile::{Ast, Lex, Program};
use proptest::prelude::*;

/// Text made of the pieces that the grammar gives a meaning to.
fn dockerfile_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "FROM",
            "RUN",
            "COPY",
            "ADD",
            "ENV",
            "LABEL",
            "ARG",
            "ONBUILD",
            "HEALTHCHECK",
            "CMD",
            "SHELL",
            "VOLUME",
            "EXPOSE",
            "# escape=`",
            "#",
            "\\",
            "`",
            "\n",
            "\r\n",
            " ",
            "\t",
            "<<EOF",
            "<<-'E'",
            "EOF",
            "--from=",
            "--mount=",
            "type=cache",
            ",",
            "=",
            "\"",
            "'",
            "[",
            "]",
            "[\"a\"]",
            "$",
            "${",
            "}",
            ":-",
            "#*",
            "%%",
            "/",
            "AS",
            "scratch",
            "\u{feff}",
            "é",
            "\0",
        ])
        .prop_map(str::to_owned),
        "[a-z0-9]{1,4}",
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn parse_all(source: &[u8]) {
    if let Ok(ast) = Ast::parse(source) {
        let text = String::from_utf8_lossy(source);
        for node in &ast.nodes {
            assert!(node.span.start <= node.span.end && node.span.end <= text.len());
            assert!(node.span.first_line >= 1 && node.span.first_line <= node.span.last_line);
            for flag in &node.flags {
                assert!(text.get(flag.span.start..flag.span.end).is_some(), "{flag:?}");
            }
        }
        let _ = ast.to_string();
        let _ = Program::from_ast(&ast);
    }
}

proptest! {
    #[test]
    fn any_bytes(source in prop::collection::vec(any::<u8>(), 0..200)) {
        parse_all(&source);
    }

    #[test]
    fn anything_like_a_dockerfile(source in dockerfile_like()) {
        parse_all(source.as_bytes());
        let lookup = |name: &str| (name.len() > 1).then(|| "a b".to_owned());
        let _ = Lex::new('\\').word(&source, &lookup);
        let _ = Lex::new('`').words(&source, &lookup);
    }

    #[test]
    fn any_ignore_file(text in "[-a-c*?!/\\\\\\[\\]^.\n ]{0,40}", path in "[a-c./]{0,12}") {
        if let Ok(patterns) = Patterns::parse(text.as_bytes()) {
            let _ = patterns.excludes(&path);
            let _ = patterns.prunes(&path);
        }
    }
}

#[test]
fn deep_nesting_is_refused_or_flat() {
    parse_all(format!("FROM a\n{}RUN x", "ONBUILD ".repeat(5000)).as_bytes());
    parse_all(format!("FROM a\nCMD {}", "[".repeat(60_000)).as_bytes());
    parse_all(format!("FROM a\nENV a={}", "${a:-".repeat(10_000)).as_bytes());
}
