//! Seeds of picture files.

use crate::{Seeds, add};
use vgg_fuzz::made::{Jpeg, black_png, deflated, png, png_header};

pub(crate) fn add_to(seeds: &mut Seeds) {
    add_png_kinds(seeds);
    add_hostile_png(seeds);
    add_jpeg(seeds);
}

/// A row of `count` bytes of a PNG: no filter, then the bytes.
fn row(bytes: &[u8]) -> Vec<u8> {
    [&[0], bytes].concat()
}

fn add_png_kinds(seeds: &mut Seeds) {
    for (colour, name) in [(0, "grey"), (2, "colour"), (3, "palette"), (4, "grey-alpha"), (6, "colour-alpha")]
    {
        for bits in [1, 2, 4, 8, 16] {
            let known = match colour {
                0 => true,
                3 => bits <= 8,
                _ => bits >= 8,
            };
            let name = if known { format!("{name}-{bits}") } else { format!("impossible-{name}-{bits}") };
            add(seeds, "png", name, black_png(5, 3, bits, colour));
        }
    }
    // One picture of 4×4 in each of the five filters, and in the seven passes of Adam7.
    for filter in 0..=5 {
        let rows: Vec<u8> = (0..4).flat_map(|y| [filter, y * 9, 200, y, 17]).collect();
        let header = png_header(4, 4, 8, 0, false);
        let name = format!("filter-{filter}");
        add(seeds, "png", name, png(&[(b"IHDR", &header), (b"IDAT", &deflated(&rows)), (b"IEND", b"")]));
    }
    let passes: Vec<u8> =
        [1, 1, 2, 2, 2, 2, 4, 4].into_iter().flat_map(|count| row(&vec![99; count])).collect();
    let header = png_header(4, 4, 8, 0, true);
    add(seeds, "png", "adam7", png(&[(b"IHDR", &header), (b"IDAT", &deflated(&passes)), (b"IEND", b"")]));
}

fn add_hostile_png(seeds: &mut Seeds) {
    let (header, data) = (png_header(4, 4, 8, 0, false), deflated(&row(&[7; 4]).repeat(4)));
    let with = |before: &[(&[u8; 4], &[u8])]| {
        let chunks = [&[(b"IHDR", &header[..])], before, &[(b"IDAT", &data), (b"IEND", b"")]].concat();
        png(&chunks)
    };
    let bomb = deflated(&vec![b'a'; 8 << 20]);
    let keyword = |start: &[u8]| [start, &bomb].concat();
    let sized = |width, height, bits, colour| {
        png(&[(b"IHDR", &png_header(width, height, bits, colour, false)), (b"IDAT", &data), (b"IEND", b"")])
    };
    let orientation = |value: u8| {
        [&b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"[..], &[value], b"\0\0\0\0\0\0"].concat()
    };
    let cases = [
        ("empty", vec![]),
        ("one-byte", b"\x89".to_vec()),
        ("text", b"not a picture\n".to_vec()),
        ("signature-only", b"\x89PNG\r\n\x1a\n".to_vec()),
        ("good", with(&[])),
        ("cut", with(&[])[..50].to_vec()),
        ("wrong-checksum", {
            let mut bytes = with(&[]);
            bytes[30] ^= 1;
            bytes
        }),
        ("size-100000", sized(100_000, 100_000, 8, 0)),
        ("size-16384", sized(16_384, 16_384, 8, 2)),
        ("size-2-to-the-32", sized(u32::MAX, u32::MAX, 16, 6)),
        ("size-zero", sized(0, 4, 8, 0)),
        ("size-1-by-65535", sized(1, 65_535, 8, 0)),
        ("size-65535-by-1", sized(65_535, 1, 8, 0)),
        ("wide", black_png(65_535, 1, 8, 0)),
        ("tall", black_png(1, 65_535, 8, 0)),
        ("too-wide", black_png(65_536, 1, 1, 0)),
        ("two-million-pixels", black_png(2000, 1000, 1, 0)),
        ("data-bomb", png(&[(b"IHDR", &header), (b"IDAT", &bomb), (b"IEND", b"")])),
        ("text-bomb", with(&[(b"zTXt", &keyword(b"Comment\0\0"))])),
        ("profile-bomb", with(&[(b"iCCP", &keyword(b"icc\0\0"))])),
        ("xmp-bomb", with(&[(b"iTXt", &keyword(b"XML:com.adobe.xmp\0\x01\0\0\0"))])),
        ("iptc-bomb", with(&[(b"zTXt", &keyword(b"Raw profile type iptc\0\0"))])),
        ("text-without-end", with(&[(b"tEXt", b"Comment")])),
        ("gamma", with(&[(b"gAMA", &45_455_u32.to_be_bytes()), (b"cHRM", &[1; 32]), (b"sRGB", b"\0")])),
        ("transparent-grey", with(&[(b"tRNS", &[0, 7])])),
        ("transparent-too-long", with(&[(b"tRNS", &[0; 300])])),
        (
            "animated",
            with(&[
                (b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0]),
                (b"fcTL", &[&[0; 4][..], &[0, 0, 0, 4, 0, 0, 0, 4], &[0; 14]].concat()),
            ]),
        ),
        ("animated-endless", with(&[(b"acTL", &[0xff; 8])])),
        ("orientation-6", with(&[(b"eXIf", &orientation(6))])),
        ("orientation-255", with(&[(b"eXIf", &orientation(255))])),
        ("second-header", with(&[(b"IHDR", &png_header(9999, 9999, 16, 6, false))])),
        ("unknown-critical", with(&[(b"XXXX", b"what")])),
        ("two-palettes", with(&[(b"PLTE", &[1; 6]), (b"PLTE", &[2; 768])])),
        ("no-data", png(&[(b"IHDR", &header), (b"IEND", b"")])),
        (
            "split-data",
            png(&[
                (b"IHDR", &header),
                (b"IDAT", &data[..5]),
                (b"IDAT", b""),
                (b"IDAT", &data[5..]),
                (b"IEND", b""),
            ]),
        ),
    ];
    for (name, bytes) in cases {
        add(seeds, "png", name, bytes);
    }
}

fn add_jpeg(seeds: &mut Seeds) {
    let small = Jpeg::new(20, 12);
    let app = |kind: u8, content: &[u8]| {
        [&[0xff, kind], &(content.len() as u16 + 2).to_be_bytes()[..], content].concat()
    };
    for value in 1..=9 {
        let exif =
            [&b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"[..], &[value], b"\0\0\0\0\0\0"]
                .concat();
        let file = Jpeg { before: app(0xe1, &exif), ..small.clone() };
        add(seeds, "jpeg", format!("orientation-{value}"), file.bytes());
    }
    let grey = Jpeg { sampling: vec![0x11], ..small.clone() };
    let print = |transform: u8| Jpeg {
        sampling: vec![0x11; 4],
        before: app(0xee, &[&b"Adobe\0\x64\0\0\0\0"[..], &[transform]].concat()),
        ..small.clone()
    };
    let progressive = Jpeg { frame: 0xc2, ..small.clone() };
    let apart = Jpeg { apart: true, ..small.clone() };
    // The size is in the frame header, behind the table of 69 bytes and 5 bytes of its own.
    let resized = |mut bytes: Vec<u8>| {
        bytes[76..80].fill(0xff);
        bytes
    };
    let exif_loop =
        app(0xe1, b"Exif\0\0II\x2a\0\x08\0\0\0\xff\xff\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\x08\0\0\0");
    let xmp =
        [&b"http://ns.adobe.com/xmp/extension/\0"[..], &[b'A'; 32], &u32::MAX.to_be_bytes(), &[0; 4], b"xx"]
            .concat();
    let profile = [&b"ICC_PROFILE\0"[..], &[1, 255], &[7; 40]].concat();
    let cases = [
        ("start-and-end", b"\xff\xd8\xff\xd9".to_vec()),
        ("start", b"\xff\xd8\xff".to_vec()),
        ("baseline", small.bytes()),
        ("baseline-extended", Jpeg { frame: 0xc1, ..small.clone() }.bytes()),
        ("full-colour", Jpeg { sampling: vec![0x11; 3], ..small.clone() }.bytes()),
        ("half-across", Jpeg { sampling: vec![0x21, 0x11, 0x11], ..small.clone() }.bytes()),
        ("half-down", Jpeg { sampling: vec![0x12, 0x11, 0x11], ..small.clone() }.bytes()),
        ("a-quarter-across", Jpeg { sampling: vec![0x41, 0x11, 0x11], ..small.clone() }.bytes()),
        ("odd-sampling", Jpeg { sampling: vec![0x31, 0x12, 0x44], ..small.clone() }.bytes()),
        ("sampling-zero", Jpeg { sampling: vec![0x00, 0x11, 0x11], ..small.clone() }.bytes()),
        ("sampling-15", Jpeg { sampling: vec![0xff, 0x11, 0x11], ..small.clone() }.bytes()),
        ("grey", grey.bytes()),
        ("grey-with-sampling", Jpeg { sampling: vec![0x22], ..grey.clone() }.bytes()),
        ("two-components", Jpeg { sampling: vec![0x11; 2], ..small.clone() }.bytes()),
        ("five-components", Jpeg { sampling: vec![0x11; 5], ..small.clone() }.bytes()),
        ("cmyk", print(0).bytes()),
        ("ycck", print(2).bytes()),
        ("twelve-bits", Jpeg { bits: 12, frame: 0xc1, ..small.clone() }.bytes()),
        ("lossless", Jpeg { frame: 0xc3, ..small.clone() }.bytes()),
        ("arithmetic", Jpeg { frame: 0xc9, ..small.clone() }.bytes()),
        ("progressive", progressive.bytes()),
        ("progressive-grey", Jpeg { sampling: vec![0x11], ..progressive.clone() }.bytes()),
        ("progressive-300-scans", Jpeg { more_scans: 300, ..progressive.clone() }.bytes()),
        ("progressive-1000-scans", Jpeg { more_scans: 1000, ..progressive.clone() }.bytes()),
        (
            "progressive-99-scans",
            Jpeg { size: [320, 200], more_scans: 94, sampling: vec![0x11], ..progressive.clone() }.bytes(),
        ),
        ("components-apart", apart.bytes()),
        ("components-apart-1000-scans", Jpeg { more_scans: 1000, ..apart.clone() }.bytes()),
        ("1000-scans", Jpeg { more_scans: 1000, ..small.clone() }.bytes()),
        ("size-65535", resized(small.bytes())),
        ("size-65535-progressive", resized(progressive.bytes())),
        ("size-zero", Jpeg { size: [0, 12], ..small.clone() }.bytes()),
        ("size-later", Jpeg { size: [20, 0], ..small.clone() }.bytes()),
        ("wide", Jpeg { size: [65_535, 1], ..grey.clone() }.bytes()),
        ("tall", Jpeg { size: [1, 65_535], ..grey.clone() }.bytes()),
        ("exif-loop", Jpeg { before: exif_loop, ..small.clone() }.bytes()),
        ("xmp-of-4-gb", Jpeg { before: app(0xe1, &xmp), ..small.clone() }.bytes()),
        ("profile-part-1-of-255", Jpeg { before: app(0xe2, &profile), ..small.clone() }.bytes()),
        ("restarts", Jpeg { before: b"\xff\xdd\x00\x04\x00\x01".to_vec(), ..small.clone() }.bytes()),
        ("two-frames", [&small.bytes()[..90], &resized(progressive.bytes())[71..]].concat()),
        ("trailing-picture", [small.bytes(), small.bytes()].concat()),
    ];
    for (name, bytes) in cases {
        add(seeds, "jpeg", name, bytes);
    }
}
