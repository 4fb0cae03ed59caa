use http::StatusCode;
use http::header::AUTHORIZATION;
use serde_json::json;

use crate::auth::decode_basic;
use crate::error::Refusal;
use crate::http::Reply;
use crate::server::Call;

/// GET of a token of our own issuer (distribution's token specification).
pub async fn issue(call: Call<'_>) -> Result<Reply, Refusal> {
    let guard = &call.server.guard;
    let (Some(issuer), Some(users)) = (&guard.issuer, &guard.users) else {
        return Err(Refusal::NoSuchPath);
    };
    let challenge = || r#"Basic realm="corten registry""#.to_owned();
    let refused = |reason| Refusal::Unauthorized { reason, challenge: challenge() };
    let user = match call.header(AUTHORIZATION) {
        None => None,
        Some(header) => {
            let value = header.get(..6).filter(|scheme| scheme.eq_ignore_ascii_case("basic "));
            let (user, password) = value
                .and_then(|_| decode_basic(&header[6..]))
                .ok_or_else(|| refused("the credentials cannot be read"))?;
            if !users.check(&user, &password).await {
                return Err(refused("user or password is wrong"));
            }
            Some(user)
        }
    };
    let scopes: Vec<&str> = call.query.all("scope").collect();
    let issued = issuer.issue(&guard.rules, user.as_deref(), &scopes)?;
    Ok(Reply::new(StatusCode::OK).with("cache-control", "no-store").json(&json!({
        "token": issued.token,
        "access_token": issued.token,
        "expires_in": issued.expires_in,
        "issued_at": issued.issued_at,
    })))
}
