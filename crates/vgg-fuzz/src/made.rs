//! Pictures made to measure: of any size and kind, all of one shade, and small as files.

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use std::io::Write;

/// A PNG file of these chunks, with right lengths and checksums.
pub fn png(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    for (name, content) in chunks {
        let mut sum = Crc::new();
        sum.update(*name);
        sum.update(content);
        bytes.extend((content.len() as u32).to_be_bytes());
        bytes.extend_from_slice(*name);
        bytes.extend_from_slice(content);
        bytes.extend(sum.sum().to_be_bytes());
    }
    bytes
}

/// The content of the chunk IHDR: size, bits of a sample, kind of colour (0 grey, 2 colour, 3
/// palette, 4 and 6 with transparency), and whether the picture comes in passes (Adam7).
pub fn png_header(width: u32, height: u32, bits: u8, colour: u8, passes: bool) -> Vec<u8> {
    let end = [bits, colour, 0, 0, passes.into()];
    [&width.to_be_bytes()[..], &height.to_be_bytes(), &end].concat()
}

/// `bytes` as PNG packs them, as short as can be.
pub fn deflated(bytes: &[u8]) -> Vec<u8> {
    deflated_at(Compression::best(), bytes)
}

fn deflated_at(level: Compression, bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), level);
    encoder.write_all(bytes).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

/// A PNG file that is black (with transparency: all transparent).
pub fn black_png(width: u32, height: u32, bits: u8, colour: u8) -> Vec<u8> {
    let samples = [1, 0, 3, 1, 2, 0, 4][usize::from(colour)];
    let row = 1 + (width as usize * samples * usize::from(bits)).div_ceil(8);
    let data = deflated_at(Compression::fast(), &vec![0; row * height as usize]);
    let palette = if colour == 3 { vec![9; 3] } else { vec![] };
    let header = png_header(width, height, bits, colour, false);
    let chunks: [(&[u8; 4], &[u8]); 4] =
        [(b"IHDR", &header), (b"PLTE", &palette), (b"IDAT", &data), (b"IEND", b"")];
    png(&chunks
        .into_iter()
        .filter(|(name, content)| *name != b"PLTE" || !content.is_empty())
        .collect::<Vec<_>>())
}

/// A JPEG file that is grey all over.
#[derive(Clone, Debug)]
pub struct Jpeg {
    /// Width and height.
    pub size: [u16; 2],
    /// The kind of frame: 0xc0 baseline, 0xc1 extended, 0xc2 progressive, …
    pub frame: u8,
    /// Bits of a sample.
    pub bits: u8,
    /// Horizontal (upper four bits) and vertical sampling of each component.
    pub sampling: Vec<u8>,
    /// Whether each component has a scan of its own.
    pub apart: bool,
    /// Scans of the first component that are added at the end.
    pub more_scans: usize,
    /// Segments put before all others.
    pub before: Vec<u8>,
}

impl Jpeg {
    /// A baseline picture whose colour has half the height and width, as most cameras make them.
    pub fn new(width: u16, height: u16) -> Self {
        let sampling = vec![0x22, 0x11, 0x11];
        Self {
            size: [width, height],
            frame: 0xc0,
            bits: 8,
            sampling,
            apart: false,
            more_scans: 0,
            before: vec![],
        }
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let [width, height] = self.size.map(u16::to_be_bytes);
        let all: Vec<u8> = (0..self.sampling.len() as u8).collect();
        let mut bytes = [b"\xff\xd8", &self.before[..]].concat();
        segment(&mut bytes, 0xdb, &[&[0][..], &[1; 64]].concat());
        let components = all.iter().flat_map(|&index| [index + 1, self.sampling[usize::from(index)], 0]);
        let components: Vec<u8> = components.collect();
        let size = [&[self.bits][..], &height, &width, &[all.len() as u8]].concat();
        segment(&mut bytes, self.frame, &[size, components].concat());
        // One code of one bit in either table: the difference 0, and the end of the block.
        for table in [0x00, 0x10] {
            segment(&mut bytes, 0xc4, &[&[table, 1][..], &[0; 15], &[0]].concat());
        }
        let progressive = self.frame == 0xc2;
        let scans =
            if self.apart { all.iter().map(|&index| vec![index]).collect() } else { vec![all.clone()] };
        for scan in scans {
            self.scan(&mut bytes, &scan, if progressive { 0..=0 } else { 0..=63 });
        }
        let others = if progressive { all } else { vec![] };
        for index in others.into_iter().chain(std::iter::repeat_n(0, self.more_scans)) {
            self.scan(&mut bytes, &[index], if progressive { 1..=63 } else { 0..=63 });
        }
        bytes.extend([0xff, 0xd9]);
        bytes
    }

    /// A scan of some components and coefficients: a bit for the first coefficient of each block,
    /// and one for the others.
    fn scan(&self, bytes: &mut Vec<u8>, components: &[u8], coefficients: std::ops::RangeInclusive<u8>) {
        let list: Vec<u8> = components.iter().flat_map(|&index| [index + 1, 0]).collect();
        let range = [*coefficients.start(), *coefficients.end(), 0];
        segment(bytes, 0xda, &[&[components.len() as u8][..], &list, &range].concat());
        let kinds = usize::from(coefficients.contains(&0)) + usize::from(coefficients.contains(&63));
        let bits = self.blocks(components) * kinds;
        bytes.resize(bytes.len() + bits / 8, 0);
        if !bits.is_multiple_of(8) {
            bytes.push(0xff >> (bits % 8));
        }
    }

    /// Blocks in a scan: of one component those that it needs, of several those of whole units.
    fn blocks(&self, components: &[u8]) -> usize {
        let factors: Vec<[usize; 2]> =
            self.sampling.iter().map(|&both| [usize::from(both >> 4), usize::from(both & 15)]).collect();
        let most = [0, 1].map(|side| factors.iter().map(|both| both[side]).max().unwrap_or(1).max(1));
        let size = self.size.map(usize::from);
        match components {
            &[only] => {
                let factors = factors[usize::from(only)];
                [0, 1]
                    .map(|side| (size[side] * factors[side]).div_ceil(most[side]).div_ceil(8))
                    .iter()
                    .product()
            }
            _ => {
                let units: usize = [0, 1].map(|side| size[side].div_ceil(8 * most[side])).iter().product();
                units * factors.iter().map(|[across, down]| across * down).sum::<usize>()
            }
        }
    }
}

/// Adds a segment: FF, its kind, its length with the two bytes of the length, the content.
fn segment(bytes: &mut Vec<u8>, kind: u8, content: &[u8]) {
    bytes.extend([0xff, kind]);
    bytes.extend((content.len() as u16 + 2).to_be_bytes());
    bytes.extend_from_slice(content);
}
