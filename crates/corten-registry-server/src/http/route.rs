use crate::digest::ContentDigest;
use crate::error::Refusal;
use crate::name::{RepositoryName, Tag};

/// What a manifest is asked for by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A tag.
    Tag(Tag),
    /// A digest.
    Digest(ContentDigest),
}

/// What a path names (distribution-spec, "Endpoints").
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/<name>/tags/list`
    Tags(RepositoryName),
    /// `/v2/<name>/manifests/<reference>`
    Manifest(RepositoryName, Target),
    /// `/v2/<name>/blobs/<digest>`
    Blob(RepositoryName, ContentDigest),
    /// `/v2/<name>/blobs/uploads/`
    Uploads(RepositoryName),
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload(RepositoryName, String),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(RepositoryName, ContentDigest),
    /// `/auth/token`
    Token,
    /// `/healthz`
    Health,
    /// `/metrics`
    Metrics,
}

impl Route {
    /// Reads a path. Names may hold the words of the endpoints: what an endpoint is, its last components say.
    pub fn parse(path: &str) -> Result<Self, Refusal> {
        match path {
            "/v2" | "/v2/" => return Ok(Self::Base),
            "/v2/_catalog" => return Ok(Self::Catalog),
            "/auth/token" => return Ok(Self::Token),
            "/healthz" | "/" => return Ok(Self::Health),
            "/metrics" => return Ok(Self::Metrics),
            _ => {}
        }
        let rest = path.strip_prefix("/v2/").ok_or(Refusal::NoSuchPath)?;
        if let Some(name) = rest.strip_suffix("/blobs/uploads/").or(rest.strip_suffix("/blobs/uploads")) {
            return Ok(Self::Uploads(name.parse()?));
        }
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Ok(Self::Tags(name.parse()?));
        }
        let (before, last) = rest.rsplit_once('/').ok_or(Refusal::NoSuchPath)?;
        let last = unescape(last);
        if let Some(name) = before.strip_suffix("/blobs/uploads") {
            return Ok(Self::Upload(name.parse()?, last));
        }
        let (name, endpoint) = before.rsplit_once('/').ok_or(Refusal::NoSuchPath)?;
        match endpoint {
            "manifests" => {
                let target = if last.contains(':') {
                    Target::Digest(last.parse()?)
                } else {
                    Target::Tag(last.parse()?)
                };
                Ok(Self::Manifest(name.parse()?, target))
            }
            "blobs" => Ok(Self::Blob(name.parse()?, last.parse()?)),
            "referrers" => Ok(Self::Referrers(name.parse()?, last.parse()?)),
            _ => Err(Refusal::NoSuchPath),
        }
    }

    /// The endpoint, for metrics.
    pub fn endpoint(&self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Catalog => "catalog",
            Self::Tags(_) => "tags",
            Self::Manifest(..) => "manifest",
            Self::Blob(..) => "blob",
            Self::Uploads(_) | Self::Upload(..) => "upload",
            Self::Referrers(..) => "referrers",
            Self::Token => "token",
            Self::Health => "health",
            Self::Metrics => "metrics",
        }
    }
}

/// A path component without percent signs; some clients write the colon of a digest so.
fn unescape(text: &str) -> String {
    text.replace("%3A", ":").replace("%3a", ":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_types::Digest;

    fn name(text: &str) -> RepositoryName {
        text.parse().unwrap()
    }

    #[test]
    fn the_last_components_say_what_an_endpoint_is() {
        let digest = Digest::of(b"");
        let of = |path: &str| Route::parse(path).unwrap();
        assert_eq!(of("/v2/"), Route::Base);
        assert_eq!(of("/v2/a/b/tags/list"), Route::Tags(name("a/b")));
        assert_eq!(of("/v2/tags/list/tags/list"), Route::Tags(name("tags/list")));
        let tag = Target::Tag("manifests".parse().unwrap());
        assert_eq!(of("/v2/blobs/manifests/manifests"), Route::Manifest(name("blobs"), tag));
        assert_eq!(of(&format!("/v2/a/blobs/{digest}")), Route::Blob(name("a"), digest.into()));
        let escaped = format!("/v2/a/referrers/sha256%3A{}", digest.hex());
        assert_eq!(of(&escaped), Route::Referrers(name("a"), digest.into()));
        assert_eq!(of("/v2/a/blobs/uploads/"), Route::Uploads(name("a")));
        assert_eq!(of("/v2/a/blobs/uploads/x"), Route::Upload(name("a"), "x".into()));
        assert_eq!(of("/v2/a/blobs/uploads/blobs/uploads/"), Route::Uploads(name("a/blobs/uploads")));
    }

    #[test]
    fn paths_out_of_grammar_are_refused_by_what_is_wrong() {
        let code = |path: &str| Route::parse(path).unwrap_err().code().0;
        assert_eq!(code("/v2/../etc/passwd"), "UNSUPPORTED");
        assert_eq!(code("/v2/../../manifests/x"), "NAME_INVALID");
        assert_eq!(code("/v2/A/manifests/x"), "NAME_INVALID");
        assert_eq!(code("/v2/a/manifests/.x"), "TAG_INVALID");
        assert_eq!(code("/v2/a/manifests/sha256:xx"), "DIGEST_INVALID");
        assert_eq!(code("/v2/a/blobs/x"), "DIGEST_INVALID");
        assert_eq!(code("/v1/a"), "UNSUPPORTED");
        assert_eq!(code("/v2/a"), "UNSUPPORTED");
        assert_eq!(code("/v2//manifests/x"), "NAME_INVALID");
    }
}
