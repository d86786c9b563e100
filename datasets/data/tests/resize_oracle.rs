//! Resizing gives the bytes of OpenCV 5.0.0 and Pillow 13.0.0, over shapes that reach every branch: one pixel, exact
//! halves and doubles, one axis only, both orders of Pillow's passes.
//!
//! The table was made with the picture `s[y, x, c] = ((37 x + 91 y + 53 c) ^ (x y)) & 255` by `zlib.crc32` of
//! `cv2.resize(s, (w, h), interpolation=cv2.INTER_LINEAR)`, `Image.fromarray(s).resize((w, h), Image.BILINEAR)`,
//! the same with `Image.BICUBIC`, and, on `s[:, :, 0]`, `cv2.INTER_NEAREST` and `Image.NEAREST`.

use care_data::resize::{cv2, nearest, pil};
use image::{Rgb, RgbImage};

/// Size before and after (width, height); CRC-32 of the five results.
type Row = ([u32; 2], [u32; 2], [u32; 5]);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    ([1, 1], [7, 5], [0x5058c0f3, 0x5058c0f3, 0x5058c0f3, 0x09f85737, 0x09f85737]),
    ([1, 9], [4, 3], [0x640a2aa6, 0x9634906e, 0xeab093bb, 0xdc47fd53, 0x45af8f69]),
    ([9, 1], [2, 6], [0x0b73c9b2, 0x9ff7b06c, 0x8d384346, 0xb71bc305, 0x6a11e1b1]),
    ([2, 2], [3, 3], [0x5cf8f7b2, 0xd8982fb0, 0xe59865dc, 0x4f79abe1, 0xadfe0502]),
    ([64, 48], [32, 24], [0xc78b34e7, 0x73e2471b, 0x6cecae71, 0x8b63627f, 0x64a43cd9]),
    ([64, 48], [128, 96], [0x3207d4a9, 0x2953c655, 0x260f0c88, 0xd24942d4, 0xd24942d4]),
    ([64, 48], [100, 75], [0x4d7a3802, 0x7b65fe05, 0x652f8e95, 0xbee5dfb8, 0x618388a6]),
    ([64, 48], [33, 90], [0xa94524bb, 0x5d478e56, 0x911ee584, 0x229629ab, 0xf3c90e33]),
    ([35, 74], [18, 37], [0x56e3ea8a, 0x3bb17bc9, 0xf8e295fd, 0x62bbba00, 0x11434922]),
    ([32, 60], [16, 30], [0xfdce7b5a, 0xa3867d74, 0x8000d86c, 0xdbba211e, 0x7ecdf550]),
    ([26, 51], [20, 39], [0xa73f5fff, 0xb0b95b5f, 0x3e40da76, 0xe5a92078, 0x5b5fcede]),
    ([71, 48], [70, 26], [0x62b05bb1, 0x3731f3b9, 0xc8c988c4, 0xf2c45da5, 0xca358315]),
    ([61, 86], [26, 2], [0x45638085, 0xbe87560c, 0x9c65ee59, 0x95eedfd1, 0x326b4735]),
    ([90, 26], [45, 13], [0xcc5e83ba, 0xe815dcd5, 0xa6f5a1ce, 0xee1b6775, 0xbbca9362]),
    ([17, 77], [100, 61], [0x37b7bea2, 0x08f7db93, 0xdff51b7f, 0x26fa877e, 0x1afb6621]),
    ([101, 53], [101, 20], [0x9e2eec82, 0x07e9c14c, 0xcd017746, 0x2ac27066, 0xe0344302]),
    ([101, 53], [40, 53], [0x1abdce8d, 0x1ba5e279, 0xd61fc571, 0x0551e6e6, 0xfcc603b0]),
    ([53, 37], [106, 74], [0x121f8aec, 0x900f6ff7, 0x4567a3b7, 0x46c0aa66, 0x46c0aa66]),
    ([50, 50], [49, 51], [0x91e2ea14, 0x7f8f65f8, 0x5e2da3cb, 0xc6100910, 0xee667f82]),
    ([120, 80], [67, 45], [0x8a38cefe, 0x53ef3dfb, 0x852ade58, 0x802dd9c2, 0x4925580c]),
];

#[test]
fn every_shape_gives_the_bytes_of_the_reference_libraries() {
    let mut wrong = Vec::new();
    for &(before, after, want) in TABLE {
        let ([w, h], [to_w, to_h]) = (before, after);
        let value = |x: u32, y: u32, c: u32| ((x * 37 + y * 91 + c * 53) ^ (x * y)) as u8;
        let picture = RgbImage::from_fn(w, h, |x, y| Rgb([0, 1, 2].map(|c| value(x, y, c))));
        let labels: Vec<u8> = picture.pixels().map(|p| p[0]).collect();
        let got = [
            crc32fast::hash(cv2::resize_bilinear(&picture, to_w, to_h).as_raw()),
            crc32fast::hash(pil::resize(&picture, to_w, to_h, pil::Filter::Bilinear).as_raw()),
            crc32fast::hash(pil::resize(&picture, to_w, to_h, pil::Filter::Bicubic).as_raw()),
            crc32fast::hash(&nearest::resize_cv2(&labels, before, after)),
            crc32fast::hash(&nearest::resize_pil(&labels, before, after)),
        ];
        let names = ["cv2 bilinear", "pil bilinear", "pil bicubic", "cv2 nearest", "pil nearest"];
        wrong.extend(
            (0..5).filter(|&i| got[i] != want[i]).map(|i| format!("{} {before:?} -> {after:?}", names[i])),
        );
    }
    assert!(wrong.is_empty(), "{} results differ:\n  {}", wrong.len(), wrong.join("\n  "));
}
