use super::rules::Who;
use super::*;

fn rules() -> Rules {
    let rule = |user: &str, repository: &str, actions: &[Action]| Rule {
        user: match user {
            "anonymous" => Who::Anyone,
            "*" => Who::Users,
            name => Who::User(name.into()),
        },
        repositories: vec![Pattern::new(repository)],
        actions: actions.to_vec(),
    };
    Rules::new(vec![
        rule("anonymous", "public/**", &[Action::Pull]),
        rule("*", "**", &[Action::Pull]),
        rule("ann", "team/*", &[Action::Push, Action::Delete]),
    ])
}

fn wish(repository: &str, action: Action) -> Wish {
    Wish::Repository(repository.parse().unwrap(), action)
}

#[test]
fn what_no_rule_allows_is_not_allowed() {
    let rules = rules();
    assert!(rules.allow(None, &wish("public/a/b", Action::Pull)));
    assert!(!rules.allow(None, &wish("team/app", Action::Pull)));
    assert!(!rules.allow(None, &wish("public/a", Action::Push)));
    assert!(rules.allow(Some("bob"), &wish("team/app", Action::Pull)));
    assert!(!rules.allow(Some("bob"), &wish("team/app", Action::Push)));
    assert!(rules.allow(Some("ann"), &wish("team/app", Action::Push)));
    assert!(!rules.allow(Some("ann"), &wish("other", Action::Push)));
    let none = Rules::new(Vec::new());
    assert!(none.allow(Some("bob"), &wish("x", Action::Delete)) && !none.allow(None, &Wish::Base));
}

#[test]
fn a_token_of_our_issuer_grants_what_the_rules_allow() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let (issuer, verifier) = Issuer::open(&path, "reg").unwrap();
    let scopes = ["repository:team/app:pull,push", "repository:other:push", "registry:catalog:*"];
    let issued = issuer.issue(&rules(), Some("ann"), &scopes).unwrap();
    let (subject, grants) = verifier.verify(&issued.token).unwrap();
    assert_eq!(subject, "ann");
    let allowed = |wish: Wish| token::grants(&grants, &wish);
    assert!(allowed(wish("team/app", Action::Pull)) && allowed(wish("team/app", Action::Push)));
    assert!(allowed(Wish::Catalog));
    assert!(!allowed(wish("team/app", Action::Delete)), "it was not asked for");
    assert!(!allowed(wish("other", Action::Push)), "no rule allows it");
    let (again, _) = Issuer::open(&path, "reg").unwrap();
    let issued = again.issue(&rules(), None, &["repository:public/x:pull"]).unwrap();
    assert!(verifier.verify(&issued.token).is_ok(), "the key is kept");
    let (_, other) = Issuer::open(&path, "other").unwrap();
    assert!(other.verify(&issued.token).is_err(), "a token is for one service");
}

#[test]
fn tokens_that_were_changed_or_not_signed_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (issuer, verifier) = Issuer::open(&dir.path().join("a"), "reg").unwrap();
    let (_, stranger) = Issuer::open(&dir.path().join("b"), "reg").unwrap();
    let token = issuer.issue(&rules(), Some("ann"), &["repository:team/app:pull"]).unwrap().token;
    assert!(stranger.verify(&token).is_err());
    let parts: Vec<&str> = token.split('.').collect();
    let code = &base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let none = code.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let shared = code.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    for bad in [
        String::new(),
        "a.b.c".into(),
        format!("{none}.{}.", parts[1]),
        format!("{shared}.{}.{}", parts[1], parts[2]),
        format!("{}.{}.{}", parts[0], code.encode(r#"{"exp":99999999999}"#), parts[2]),
        "x".repeat(100_000),
    ] {
        assert!(verifier.verify(&bad).is_err(), "{bad:.60}");
    }
}

#[test]
fn a_challenge_says_where_a_token_is_to_be_had() {
    let mut guard = Guard { realm: Some((Realm::Own, "reg".into())), ..Guard::default() };
    let dir = tempfile::tempdir().unwrap();
    let (issuer, verifier) = Issuer::open(&dir.path().join("k"), "reg").unwrap();
    (guard.issuer, guard.verifier) = (Some(issuer), Some(verifier));
    let refused = guard.admit(&Principal::Anonymous, &wish("a/b", Action::Push), "https://r:5000");
    let Err(Refusal::Unauthorized { challenge, .. }) = refused else { panic!() };
    assert_eq!(
        challenge,
        r#"Bearer realm="https://r:5000/auth/token",service="reg",scope="repository:a/b:pull,push""#
    );
}
