//! The frame around each record of an event file (TensorFlow's format `TFRecord`).

/// CRC-32C (Castagnoli) of every byte, bits reflected, by the polynomial 0x1EDC6F41.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0x82F6_3B78 } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
};

/// The bytes that hold `data` in a file: its length (`u64`), the checksum of the length, `data`, its
/// checksum (`u32`), all little-endian. A reader who finds a part knows that it is one.
pub fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let checksums = [checksum(&length), checksum(data)].map(u32::to_le_bytes);
    [&length[..], &checksums[0], data, &checksums[1]].concat()
}

/// CRC-32C, masked: the format turns and shifts it, since the CRC of data that hold their own CRC is weak.
fn checksum(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| TABLE[usize::from(crc as u8 ^ byte)] ^ crc >> 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of RFC 3720, appendix B.4.
    #[test]
    fn checksums_are_those_of_the_standard() {
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
        assert_eq!(crc32c(&rising), 0x46DD_794E);
    }

    #[test]
    fn a_record_is_length_data_and_their_checksums() {
        let bytes = record(b"123456789");
        assert_eq!(bytes.len(), 9 + 16);
        assert_eq!(bytes[..8], [9, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&bytes[12..21], b"123456789");
        // 0xE3069283 turned right by 15 bits is 0x2507C60D; 0xA282EAD8 more is 0xC78AB0E5.
        assert_eq!(bytes[21..], 0xC78A_B0E5u32.to_le_bytes());
    }
}
