//! What a JPEG file says of its size before it is decoded: how much memory decoding will take.
//!
//! A file is a row of segments: FF, a kind, a length of two bytes that counts itself, the content.
//! The frame header (SOF) has size, components and their sampling; each scan (SOS) begins with a
//! list of its components, and the picture's data follow it.

/// The frame header, and how the first scan goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Components: 1 for grey, 3 for colour, 4 for print.
    components: u64,
    /// Blocks of all components in one unit of the smallest common size, and that unit's sides.
    blocks: u64,
    unit: [u64; 2],
    /// Whether the decoder keeps the coefficients of the whole picture, because a pixel's are spread
    /// over several scans.
    kept: bool,
}

impl Frame {
    /// The frame of the picture in `bytes`; `None` when none comes before the picture's data.
    pub(crate) fn find(bytes: &[u8]) -> Option<Self> {
        let mut frame: Option<Self> = None;
        let mut place = 2;
        loop {
            let (kind, content) = segment(bytes, &mut place)?;
            match kind {
                // All SOF; C4, C8 and CC between them are other segments.
                0xc0..=0xcf if !matches!(kind, 0xc4 | 0xc8 | 0xcc) => {
                    let next = Self::parse(kind, content)?;
                    let kept = frame.is_some_and(|before| before.kept);
                    frame = Some(Self { kept: next.kept || kept, ..next });
                }
                // The first scan: when it has not all components, those to come must be waited for.
                0xda => {
                    let scanned = u64::from(*content.first()?);
                    return frame
                        .map(|frame| Self { kept: frame.kept || scanned < frame.components, ..frame });
                }
                _ => {}
            }
        }
    }

    /// Sample precision (1 byte), height and width (2 each), number of components (1), and for each
    /// an identity, the sampling factors in 4 bits each, and a table.
    fn parse(kind: u8, content: &[u8]) -> Option<Self> {
        let (&[_, h1, h0, w1, w0, count], components) = content.split_first_chunk()?;
        let (mut blocks, mut unit) = (0, [1, 1]);
        for component in components.chunks_exact(3).take(count.into()) {
            let factors = [component[1] & 15, component[1] >> 4].map(|factor| u64::from(factor.max(1)));
            blocks += factors[0] * factors[1];
            unit = [unit[0].max(factors[0]), unit[1].max(factors[1])];
        }
        Some(Self {
            width: u16::from_be_bytes([w1, w0]).into(),
            height: u16::from_be_bytes([h1, h0]).into(),
            components: count.into(),
            blocks,
            unit: unit.map(|factor| 8 * factor),
            kept: kind != 0xc0 && kind != 0xc1,
        })
    }

    /// Bytes that decoding takes at its peak, besides the file: the pixels, and coefficients of 2
    /// bytes, either of the whole picture or of some rows of units.
    pub(crate) fn memory(&self) -> u64 {
        let (width, height) = (u64::from(self.width), u64::from(self.height));
        let pixels = width * height * if self.components == 1 { 1 } else { 3 };
        let row = width.div_ceil(self.unit[1]) * self.blocks * 128;
        let rows = if self.kept { height.div_ceil(self.unit[0]) } else { 0 };
        // For a row of units the decoder has its coefficients, and copies in the sizes that
        // components are brought to.
        pixels
            + row * rows
            + ROW_COPIES * width.next_multiple_of(self.unit[1]) * self.unit[0] * 2 * self.components
    }
}

/// As measured, and a little more.
const ROW_COPIES: u64 = 4;

/// The segment that begins at or after `place`, which moves behind it. Bytes that belong to no
/// segment are passed over, as decoders do.
fn segment<'a>(bytes: &'a [u8], place: &mut usize) -> Option<(u8, &'a [u8])> {
    loop {
        let rest = bytes.get(*place..)?;
        *place += rest.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xff))?;
        let kind = bytes[*place + 1];
        *place += 2;
        // Markers without a segment: TEM, restarts, start and end of the picture.
        if matches!(kind, 0x01 | 0xd0..=0xd9) {
            continue;
        }
        let length =
            bytes.get(*place..)?.first_chunk().map(|length| usize::from(u16::from_be_bytes(*length)))?;
        let content = bytes.get(*place + 2..*place + length)?;
        *place += length;
        return Some((kind, content));
    }
}

/// Whether the end marker FF D9 follows the last start of a scan, FF DA. The decoder would fill
/// what is missing with grey and say nothing. Inside a scan every FF of the data is followed by 00.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    let last = |marker: [u8; 2]| bytes.windows(2).rposition(|pair| pair == marker);
    match (last([0xff, 0xda]), last([0xff, 0xd9])) {
        (Some(scan), Some(end)) => end > scan,
        // Without a scan it is no JPEG; the decoder says why.
        (None, _) => true,
        (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file up to its first scan: frame `kind` of 100 × 50 pixels with these sampling factors.
    fn file(kind: u8, factors: &[u8], scanned: u8) -> Vec<u8> {
        let count = factors.len() as u8;
        let mut bytes = b"\xff\xd8\xff\xe0\x00\x04\xff\xda".to_vec();
        bytes.extend([0xff, kind, 0, 8 + 3 * count, 8, 0, 50, 0, 100, count]);
        factors.iter().for_each(|&factor| bytes.extend([1, factor, 0]));
        bytes.extend([0xff, 0xda, 0, 3, scanned]);
        bytes
    }

    #[test]
    fn size_and_coefficients_follow_from_the_frame() {
        let frame = Frame::find(&file(0xc0, &[0x22, 0x11, 0x11], 3)).unwrap();
        assert_eq!((frame.width, frame.height, frame.components), (100, 50, 3));
        assert_eq!((frame.blocks, frame.unit, frame.kept), (6, [16, 16], false));
        let progressive = Frame::find(&file(0xc2, &[0x22, 0x11, 0x11], 3)).unwrap();
        assert!(progressive.kept);
        // 7 × 4 units of 6 blocks of 64 coefficients of 2 bytes.
        assert_eq!(progressive.memory() - frame.memory(), 7 * 4 * 6 * 128);
        assert!(Frame::find(&file(0xc0, &[0x11, 0x11, 0x11], 1)).unwrap().kept, "one component a scan");
        assert!(!Frame::find(&file(0xc1, &[0x11], 1)).unwrap().kept);
    }

    #[test]
    fn what_is_no_frame_is_none() {
        let whole = file(0xc0, &[0x11], 1);
        for length in 0..whole.len() {
            assert_eq!(Frame::find(&whole[..length]), None, "{length}");
        }
        assert_eq!(Frame::find(b"\xff\xd8\xff\xd9"), None);
        assert_eq!(Frame::find(b"\xff\xd8\xff\xda\x00\x03\x01"), None);
        assert_eq!(Frame::find(b"\xff\xd8\xff\xe0\x00\x00\xff\xc0\x00\x01"), None);
    }
}
