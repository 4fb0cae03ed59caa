use std::io::{BufRead, Read};

use crate::error::ApplyError;

/// How a stream is compressed, told by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip (RFC 1952), several members allowed.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// Zstandard (RFC 8878), skippable frames first allowed.
    Zstd,
}

/// Most memory an xz stream may ask for, in bytes.
const XZ_MEMORY_MAX: u64 = 64 << 20;
/// Largest window a zstd stream may ask for, as a power of two.
const ZSTD_WINDOW_MAX: u32 = 27;

impl Compression {
    /// The compression that `start`, the first bytes of a stream, is the sign of.
    pub fn detect(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, 0x08, ..] => Self::Gzip,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0x00, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// The plain bytes of a stream, whatever its compression.
pub fn decompress<'a>(mut reader: impl BufRead + Send + 'a) -> Result<Box<dyn Read + Send + 'a>, ApplyError> {
    let start = reader.fill_buf().map_err(|source| ApplyError::Read { source })?;
    let read = |source| ApplyError::Read { source };
    Ok(match Compression::detect(start) {
        Compression::None => Box::new(reader),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(reader)),
        Compression::Xz => {
            let stream =
                liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_MAX, liblzma::stream::CONCATENATED)
                    .map_err(|error| read(error.into()))?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(reader, stream))
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(reader).map_err(read)?;
            decoder.window_log_max(ZSTD_WINDOW_MAX).map_err(read)?;
            Box::new(decoder)
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn plain(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        decompress(bytes).unwrap().read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn every_compression_is_told_by_its_first_bytes() {
        let text = b"steel that protects itself by rusting".repeat(100);
        assert_eq!(plain(&text), text);
        assert_eq!(plain(b""), b"");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let gzip = gzip.finish().unwrap();
        assert_eq!(plain(&gzip), text);
        assert_eq!(plain(&[gzip.clone(), gzip].concat()), text.repeat(2));
        assert_eq!(plain(&zstd::encode_all(&text[..], 1).unwrap()), text);
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(&text).unwrap();
        assert_eq!(plain(&bzip2.finish().unwrap()), text);
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&text).unwrap();
        assert_eq!(plain(&xz.finish().unwrap()), text);
    }

    #[test]
    fn a_cut_stream_is_an_error() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&[7; 10_000]).unwrap();
        let gzip = gzip.finish().unwrap();
        let cut = &gzip[..gzip.len() - 10];
        assert!(decompress(cut).unwrap().read_to_end(&mut Vec::new()).is_err());
    }
}
