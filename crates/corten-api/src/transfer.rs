//! Images from one daemon to another: an extension of ours, below `/corten/`.

use corten_types::Digest;
use serde::{Deserialize, Serialize};

use crate::descriptor::Descriptor;

/// What an image consists of, as far as it is there: `GET /corten/images/{name}/content`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Content {
    /// The image's name; `null` where it was found by its id.
    pub name: Option<String>,
    /// The index or manifest that the name points at.
    pub target: Descriptor,
    /// Everything beneath it and itself, each before what it names, each once.
    pub content: Vec<Descriptor>,
}

/// What is to be sent: `POST /corten/transfers`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Begin {
    /// Digests of everything the image consists of.
    pub content: Vec<Digest>,
}

/// The answer to [`Begin`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Begun {
    /// The transfer.
    pub id: String,
    /// What of the content is not there, in the order it was named.
    pub missing: Vec<Digest>,
}

/// What a transfer becomes: `POST /corten/transfers/{id}/commit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Commit {
    /// The name it gets; without one it is found by its id.
    pub name: Option<String>,
    /// The index or manifest.
    pub target: Descriptor,
}
