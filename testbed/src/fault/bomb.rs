//! A compressed body that is small until it is decompressed.

use std::io::{self, Write as _};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// A gzip stream that decompresses into one JSON string of about `bytes` bytes.
///
/// A block that ends with a full flush stands for itself, so one compressed mebibyte is repeated as often as needed
/// instead of compressing everything.
pub(super) fn gzip(bytes: u64) -> io::Result<Vec<u8>> {
    let blocks = bytes.div_ceil(BLOCK_BYTES as u64).max(1);
    let block = vec![b' '; BLOCK_BYTES];
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut sum = Crc::new();
    let mut add = |plain: &[u8], times: u64, flush| -> io::Result<()> {
        let deflated = deflate(plain, flush)?;
        let mut own = Crc::new();
        own.update(plain);
        for _ in 0..times {
            out.write_all(&deflated)?;
            sum.combine(&own);
        }
        Ok(())
    };
    add(b"\"", 1, FlushCompress::Full)?;
    add(&block, blocks, FlushCompress::Full)?;
    add(b"\"", 1, FlushCompress::Finish)?;
    out.extend(sum.sum().to_le_bytes());
    out.extend(sum.amount().to_le_bytes());
    Ok(out)
}

fn deflate(plain: &[u8], flush: FlushCompress) -> io::Result<Vec<u8>> {
    let mut deflated = Vec::with_capacity(plain.len() + 1024);
    let status = Compress::new(Compression::fast(), false).compress_vec(plain, &mut deflated, flush)?;
    match status {
        Status::Ok | Status::StreamEnd => Ok(deflated),
        Status::BufError => Err(io::Error::other("a buffer that is too small")),
    }
}

const BLOCK_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn is_a_valid_gzip_stream_of_that_length() -> io::Result<()> {
        let bomb = gzip(3 << 20)?;
        assert!(bomb.len() < 64 * 1024, "{} bytes", bomb.len());
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(bomb.as_slice()).read_to_end(&mut plain)?;
        assert_eq!(plain.len(), (3 << 20) + 2);
        assert_eq!(plain.first(), Some(&b'"'));
        Ok(())
    }
}
