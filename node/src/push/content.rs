//! From an HTTP body to the bytes of a message: what `Content-Type` and `Content-Encoding` mean to Loki, and
//! decompression that no body can blow up.

use std::io::Read;

use bytes::Bytes;

use super::buffers;
use super::error::{ErrorCode, PushError};

/// Bytes of a body as it comes over the wire (Loki's `max_recv_msg_size`). Whoever reads the socket stops here.
pub const PACKED_BYTES_MAX: usize = 100 << 20;

/// Bytes of a body once unpacked. Loki lets 5 GB through; a node of ours has less memory than that. Real
/// clients send some MiB.
pub const UNPACKED_BYTES_MAX: usize = 128 << 20;

/// Bytes of a payload of our own write-ahead log once unpacked: what a push of [`UNPACKED_BYTES_MAX`] may
/// become when it is written again, every byte of its labels escaped.
const WAL_BYTES_MAX: usize = 2 << 30;

/// Three bytes of snappy make 64 at most, a factor of 22. A header that promises more than this lies, and is not
/// worth an allocation.
const SNAPPY_EXPANSION_MAX: usize = 32;

/// How a body is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/json`.
    Json,
    /// Any other type, as in Loki.
    Protobuf,
}

/// How a body of a Loki push is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// No header, or `snappy`: JSON comes as it is, protobuf as a snappy block.
    Plain,
    /// `gzip`.
    Gzip,
    /// `deflate`, without zlib's wrapping.
    Deflate,
}

impl Encoding {
    /// Reads `Content-Encoding`.
    ///
    /// # Errors
    /// Loki takes no others.
    pub fn of(header: Option<&str>) -> Result<Self, PushError> {
        match header.unwrap_or_default() {
            "" | "snappy" => Ok(Encoding::Plain),
            "gzip" => Ok(Encoding::Gzip),
            "deflate" => Ok(Encoding::Deflate),
            other => Err(unsupported_encoding(other)),
        }
    }
}

/// The refusal of an encoding.
pub(super) fn unsupported_encoding(name: &str) -> PushError {
    PushError::invalid(format!("Content-Encoding {} not supported", super::labels::quoted(name)))
}

impl Format {
    /// Reads `Content-Type`, parameters included.
    ///
    /// # Errors
    /// The header is missing or not a media type.
    pub fn of(header: Option<&str>) -> Result<Self, PushError> {
        let media_type = media_type(header.unwrap_or_default())?;
        Ok(if media_type == "application/json" { Format::Json } else { Format::Protobuf })
    }
}

/// The type of a header without its parameters, in lower case. Texts are those of Go's `mime` package.
fn media_type(header: &str) -> Result<String, PushError> {
    let error = |text: &str| Err(PushError::invalid(format!("mime: {text}")));
    let (full, parameters) = header.split_once(';').unwrap_or((header, ""));
    let full = full.trim().to_ascii_lowercase();
    let (kind, subtype) = full.split_once('/').map_or((full.as_str(), None), |(kind, sub)| (kind, Some(sub)));
    let token_len = |text: &str| text.bytes().take_while(|&byte| is_token_byte(byte)).count();
    if kind.is_empty() {
        return error("no media type");
    }
    if token_len(kind) < kind.len() {
        return error("expected slash after first token");
    }
    match subtype {
        Some(subtype) if token_len(subtype) == 0 => return error("expected token after slash"),
        Some(subtype) if token_len(subtype) < subtype.len() => {
            return error("unexpected content after media subtype");
        }
        _ => {}
    }
    if !parameters_are_valid(parameters) {
        return error("invalid media parameter");
    }
    Ok(full)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !br#"()<>@,;:\"/[]?="#.contains(&byte)
}

fn parameters_are_valid(mut rest: &str) -> bool {
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        if rest.is_empty() {
            return true;
        }
        let Some((name, value)) = rest.split_once('=') else { return false };
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            return false;
        }
        let len = match value.strip_prefix('"') {
            Some(quoted) => quoted.find('"').map_or(0, |end| end + 2),
            None => value.bytes().take_while(|&byte| is_token_byte(byte)).count(),
        };
        rest = value[len..].trim_start();
        if len == 0 || !(rest.is_empty() || rest.starts_with(';')) {
            return false;
        }
    }
}

/// Unpacks a body of a Loki push.
///
/// # Errors
/// The body is larger than a limit, packed or unpacked, or is not packed as the headers say.
pub fn unpack(body: &Bytes, encoding: Encoding, format: Format) -> Result<Bytes, PushError> {
    check_packed(body)?;
    match (encoding, format) {
        (Encoding::Plain, Format::Json) => Ok(body.clone()),
        (Encoding::Plain, Format::Protobuf) => snappy(body, UNPACKED_BYTES_MAX),
        (Encoding::Gzip, _) => gzip(body),
        (Encoding::Deflate, _) => bounded(flate2::read::DeflateDecoder::new(&body[..]), "flate"),
    }
}

/// Refuses a body that is larger than [`PACKED_BYTES_MAX`].
///
/// # Errors
/// It is.
pub(super) fn check_packed(body: &[u8]) -> Result<(), PushError> {
    if body.len() > PACKED_BYTES_MAX {
        return Err(PushError::too_large(body.len() as u64, PACKED_BYTES_MAX as u64));
    }
    Ok(())
}

/// Unpacks gzip, any number of members.
pub(super) fn gzip(body: &[u8]) -> Result<Bytes, PushError> {
    bounded(flate2::read::MultiGzDecoder::new(body), "gzip")
}

/// Reads to the end, or to one byte beyond the limit. A buffer left to double would take three times the limit
/// when it grows for that byte: the second half is made room for at once.
pub(super) fn bounded(mut reader: impl Read, what: &str) -> Result<Bytes, PushError> {
    const HALF: usize = UNPACKED_BYTES_MAX / 2;
    let mut unpacked = Vec::new();
    let mut read = reader.by_ref().take(HALF as u64).read_to_end(&mut unpacked);
    if unpacked.len() == HALF && read.is_ok() {
        unpacked.reserve_exact(HALF + 1);
        read = reader.take(HALF as u64 + 1).read_to_end(&mut unpacked);
    }
    if unpacked.len() > UNPACKED_BYTES_MAX {
        return Err(PushError::new(
            ErrorCode::TooLarge,
            format!("request body too large: more than {UNPACKED_BYTES_MAX} bytes when unpacked"),
        ));
    }
    match read {
        Ok(_) => Ok(unpacked.into()),
        Err(error) => Err(PushError::invalid(format!("{what}: {error}"))),
    }
}

/// Unpacks a payload of the write-ahead log.
pub(super) fn unpack_snappy(packed: &[u8]) -> Result<Bytes, PushError> {
    snappy(packed, WAL_BYTES_MAX)
}

/// Packs text whose length is bounded far below snappy's 4 GiB.
pub(super) fn pack_snappy(text: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(text).expect("a push is far below 4 GiB")
}

/// The length is in the block's header, so it is judged before anything is allocated.
fn snappy(packed: &[u8], limit: usize) -> Result<Bytes, PushError> {
    let corrupt = || PushError::invalid("snappy: corrupt input");
    let len = snap::raw::decompress_len(packed).map_err(|_| corrupt())?;
    if packed.is_empty() || len / SNAPPY_EXPANSION_MAX > packed.len() {
        return Err(corrupt());
    }
    if len > limit {
        return Err(PushError::too_large(len as u64, limit as u64));
    }
    let mut unpacked = buffers::take(len);
    let written = snap::raw::Decoder::new().decompress(packed, &mut unpacked).map_err(|_| corrupt())?;
    Ok(unpacked.into_bytes(written))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use bytes::Bytes;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::{Encoding, Format, PACKED_BYTES_MAX, UNPACKED_BYTES_MAX, pack_snappy, unpack};

    fn check_type(header: Option<&str>, expected: Result<Format, &str>) {
        let got = Format::of(header).map_err(|error| error.message);
        assert_eq!(
            got.as_ref().map_err(String::as_str),
            expected.as_ref().map_err(|text| *text),
            "{header:?}"
        );
    }

    #[test]
    fn only_json_is_json() {
        check_type(Some("application/json"), Ok(Format::Json));
        check_type(Some("Application/JSON; charset=utf-8"), Ok(Format::Json));
        check_type(Some("application/json;"), Ok(Format::Json));
        check_type(Some("application/json; charset=\"utf 8\"; x=y"), Ok(Format::Json));
        check_type(Some("application/x-protobuf"), Ok(Format::Protobuf));
        check_type(Some("text/plain"), Ok(Format::Protobuf));
        check_type(Some("json"), Ok(Format::Protobuf));
    }

    #[test]
    fn what_is_no_media_type_is_refused() {
        check_type(None, Err("mime: no media type"));
        check_type(Some(""), Err("mime: no media type"));
        check_type(Some("; charset=utf-8"), Err("mime: no media type"));
        check_type(Some("application/"), Err("mime: expected token after slash"));
        check_type(Some("a b/c"), Err("mime: expected slash after first token"));
        check_type(Some("a/b/c"), Err("mime: unexpected content after media subtype"));
        check_type(Some("a/b; charset"), Err("mime: invalid media parameter"));
        check_type(Some("a/b; =x"), Err("mime: invalid media parameter"));
        check_type(Some("a/b; x=\"y"), Err("mime: invalid media parameter"));
        check_type(Some("a/b; x=y z"), Err("mime: invalid media parameter"));
    }

    #[test]
    fn encodings_are_those_of_loki() {
        for (header, expected) in [
            (None, Ok(Encoding::Plain)),
            (Some("snappy"), Ok(Encoding::Plain)),
            (Some("gzip"), Ok(Encoding::Gzip)),
            (Some("deflate"), Ok(Encoding::Deflate)),
            (Some("br"), Err("Content-Encoding \"br\" not supported")),
            (Some("zstd"), Err("Content-Encoding \"zstd\" not supported")),
        ] {
            let got = Encoding::of(header).map_err(|error| error.message);
            assert_eq!(got.as_ref().map_err(String::as_str), expected.as_ref().map_err(|text| *text));
        }
    }

    const TEXT: &[u8] = b"{\"streams\":[]}";

    fn check(body: Vec<u8>, encoding: Encoding, format: Format, expected: Result<&[u8], u16>) {
        let got = unpack(&body.into(), encoding, format).map_err(|error| error.code.status());
        assert_eq!(got.as_deref(), expected.as_deref(), "{encoding:?} {format:?}");
    }

    fn packed<W>(mut encoder: W, finish: impl Fn(W) -> std::io::Result<Vec<u8>>, text: &[u8]) -> Vec<u8>
    where
        W: Write,
    {
        encoder.write_all(text).unwrap();
        finish(encoder).unwrap()
    }

    #[test]
    fn bodies_are_unpacked_as_the_headers_say() {
        let gzip = packed(GzEncoder::new(Vec::new(), Compression::fast()), GzEncoder::finish, TEXT);
        let deflate =
            packed(DeflateEncoder::new(Vec::new(), Compression::fast()), DeflateEncoder::finish, TEXT);
        let zlib = packed(ZlibEncoder::new(Vec::new(), Compression::fast()), ZlibEncoder::finish, TEXT);
        for format in [Format::Json, Format::Protobuf] {
            check(gzip.clone(), Encoding::Gzip, format, Ok(TEXT));
            check(deflate.clone(), Encoding::Deflate, format, Ok(TEXT));
            check(zlib.clone(), Encoding::Deflate, format, Err(400));
            check(TEXT.to_vec(), Encoding::Gzip, format, Err(400));
            check(gzip[..gzip.len() - 1].to_vec(), Encoding::Gzip, format, Err(400));
        }
        check([gzip.clone(), gzip].concat(), Encoding::Gzip, Format::Json, Ok(&[TEXT, TEXT].concat()));
        check(TEXT.to_vec(), Encoding::Plain, Format::Json, Ok(TEXT));
        check(pack_snappy(TEXT), Encoding::Plain, Format::Protobuf, Ok(TEXT));
        check(TEXT.to_vec(), Encoding::Plain, Format::Protobuf, Err(400));
        check(Vec::new(), Encoding::Plain, Format::Protobuf, Err(400));
    }

    #[test]
    fn bombs_are_refused() {
        let zeros = vec![0; UNPACKED_BYTES_MAX + 1];
        let gzip = packed(GzEncoder::new(Vec::new(), Compression::fast()), GzEncoder::finish, &zeros);
        check(gzip, Encoding::Gzip, Format::Json, Err(413));
        check(pack_snappy(&zeros), Encoding::Plain, Format::Protobuf, Err(413));
        check(vec![0; PACKED_BYTES_MAX + 1], Encoding::Plain, Format::Json, Err(413));
        // A header that promises 128 MiB in front of nothing.
        check(vec![0x80, 0x80, 0x80, 0x40, 0, 0], Encoding::Plain, Format::Protobuf, Err(400));
    }

    proptest! {
        #[test]
        fn any_body_is_unpacked_or_refused(body in prop::collection::vec(any::<u8>(), 0..100)) {
            for encoding in [Encoding::Plain, Encoding::Gzip, Encoding::Deflate] {
                let _ = unpack(&Bytes::from(body.clone()), encoding, Format::Protobuf);
            }
        }

        #[test]
        fn any_media_type_is_read_or_refused(header in "[a/;= \"\u{e9}]{0,20}") {
            let _ = Format::of(Some(&header));
        }
    }
}
