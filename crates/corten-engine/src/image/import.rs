//! An image of one layer, made from a plain tar.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;

use corten_archive::{Compression, decompress};
use corten_store::oci::{Descriptor, History, ImageConfig, Manifest, RootFs, RunConfig, media};
use corten_store::{Intake, Name};
use corten_types::{Digest, Platform, Reference};

use super::{Error, Images, blocking};

/// What `POST /images/create?fromSrc=…` asks for.
pub struct ImportRequest {
    /// The tar, compressed or not.
    pub archive: Box<dyn Read + Send>,
    /// The image's name.
    pub name: Option<Reference>,
    /// What it runs on; this machine where nothing is said.
    pub platform: Option<Platform>,
    /// Comment of its layer.
    pub message: String,
    /// How to run it, as instructions of a Dockerfile.
    pub changes: Vec<String>,
}

impl Images {
    /// Makes an image from a tar and gives its id.
    pub async fn import(self: &Arc<Self>, request: ImportRequest) -> Result<Digest, Error> {
        let images = self.clone();
        let shown = request.name.clone().map(|name| name.or_latest().familiar());
        let id = blocking(move || images.import_blocking(request)).await?;
        if let Some(name) = shown {
            self.tell("tag", &id, &name);
        }
        self.tell("import", &id, &id.to_string());
        Ok(id)
    }

    fn import_blocking(&self, request: ImportRequest) -> Result<Digest, Error> {
        let changed = corten_build::commit::change(&RunConfig::default(), &request.changes)?;
        let intake = self.store.intake();
        let layer = store_layer(&intake, request.archive)?;
        let (diff_id, _) = intake.unpack_unknown(None, &layer.digest)?;
        let created = jiff::Timestamp::now().to_string();
        let platform = request.platform.unwrap_or_else(Platform::host);
        let config = ImageConfig {
            created: Some(created.clone()),
            architecture: platform.architecture,
            variant: platform.variant,
            os: platform.os,
            os_version: platform.os_version,
            os_features: platform.os_features,
            config: changed,
            rootfs: RootFs { kind: "layers".into(), diff_ids: vec![diff_id] },
            history: vec![History { created: Some(created), comment: request.message, ..History::default() }],
            ..ImageConfig::default()
        };
        let target = self.put_image(&intake, &config, vec![layer])?;
        let id = target.digest;
        let name = request.name.map_or(Name::Dangling(id), |name| Name::Reference(name.or_latest()));
        intake.name(name, target, BTreeMap::new());
        intake.commit()?;
        Ok(id)
    }

    /// Writes config and OCI manifest of an image into an intake and gives the manifest's descriptor.
    pub fn put_image(
        &self,
        intake: &Intake,
        config: &ImageConfig,
        layers: Vec<Descriptor>,
    ) -> Result<Descriptor, Error> {
        let bytes =
            |json: serde_json::Result<Vec<u8>>| json.map_err(|error| Error::Archive(error.to_string()));
        let config = intake.bytes(media::CONFIG, &bytes(serde_json::to_vec(config))?)?;
        let manifest = Manifest {
            schema_version: 2,
            media_type: media::MANIFEST.into(),
            artifact_type: String::new(),
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        };
        Ok(intake.bytes(media::MANIFEST, &bytes(serde_json::to_vec(&manifest))?)?)
    }
}

/// Stores gzip and zstd as they are, everything else as gzip.
fn store_layer(intake: &Intake, archive: Box<dyn Read + Send>) -> Result<Descriptor, Error> {
    let failed = |source| Error::Stream { operation: "read the archive", source };
    let mut archive = BufReader::with_capacity(256 << 10, archive);
    let compression = Compression::detect(archive.fill_buf().map_err(failed)?);
    let media_type = if compression == Compression::Zstd { media::LAYER_ZSTD } else { media::LAYER_GZIP };
    let (digest, size) = match compression {
        Compression::Gzip | Compression::Zstd => intake.copy(&mut archive, None, None)?,
        Compression::None | Compression::Bzip2 | Compression::Xz => {
            let plain = decompress(archive).map_err(|error| Error::Archive(error.to_string()))?;
            let mut writer = intake.writer()?;
            let compress = |source| Error::Stream { operation: "compress the archive", source };
            corten_archive::gzip(plain, &mut writer).map_err(compress)?;
            writer.finish(None, None)?
        }
    };
    Ok(Descriptor::new(media_type, digest, size))
}
