//! The one checksum of the product, on the wire and on disk: CRC-32C (Castagnoli). It finds accidents, not attackers.

/// CRC-32C of `bytes`.
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_crc_32c() {
        assert_eq!(checksum(b""), 0);
        assert_eq!(checksum(b"123456789"), 0xe306_9283); // the check value of CRC-32/ISCSI
        assert_eq!(checksum(&[0; 32]), 0x8a91_36aa); // RFC 3720, B.4
    }
}
