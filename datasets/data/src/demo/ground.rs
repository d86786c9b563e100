//! What lies behind the objects: one or two textured regions.

use super::color::{Color, blend, calm_pair, scaled};
use super::dice::{Dice, Grain, lerp, sin};

/// A texture, described so that any pixel can be asked for.
#[derive(Clone, Copy)]
enum Texture {
    /// From one colour to the other along a direction.
    Gradient { step: [i32; 2], offset: i32 },
    /// Smooth noise of two octaves.
    Cloud { grain: Grain, cell: i32 },
    /// A checkerboard with joints, its fields a little uneven.
    Tiles { grain: Grain, side: i32, shift: [i32; 2] },
    /// Planks with waves in them.
    Stripes { angle: i32, width: i32, wave: i32 },
}

/// One region: a texture between two colours.
#[derive(Clone, Copy)]
struct Region {
    texture: Texture,
    colors: [Color; 2],
}

/// The background of one picture.
pub(super) struct Ground {
    above: Region,
    /// The lower region and the height of the line between the two, if there are two.
    below: Option<(Region, Horizon)>,
}

#[derive(Clone, Copy)]
struct Horizon {
    y: i32,
    swing: i32,
    length: i32,
    phase: i32,
}

impl Ground {
    pub(super) fn new(dice: &mut Dice, width: i32, height: i32) -> Self {
        let above = Region::new(dice, width, height);
        let below = dice.chance(60).then(|| {
            let horizon = Horizon {
                y: height * dice.between(30, 70) / 100,
                swing: dice.between(0, height / 12),
                length: dice.between(width / 2, width * 2),
                phase: dice.between(0, 255),
            };
            (Region::new(dice, width, height), horizon)
        });
        Self { above, below }
    }

    /// Number of the texture at a pixel, in the order of [`Texture`].
    pub(super) fn kind(&self, x: i32, y: i32) -> usize {
        let region = match &self.below {
            Some((region, horizon)) if horizon.is_above(x, y) => region,
            _ => &self.above,
        };
        match region.texture {
            Texture::Gradient { .. } => 0,
            Texture::Cloud { .. } => 1,
            Texture::Tiles { .. } => 2,
            Texture::Stripes { .. } => 3,
        }
    }

    /// Texture and colour at a pixel.
    pub(super) fn color(&self, x: i32, y: i32) -> Color {
        match &self.below {
            Some((region, horizon)) if horizon.is_above(x, y) => region.color(x, y),
            _ => self.above.color(x, y),
        }
    }
}

impl Horizon {
    /// Does the line pass above the pixel?
    fn is_above(self, x: i32, y: i32) -> bool {
        let wave = self.swing * sin(self.phase + x * 256 / self.length) / 16384;
        y >= self.y + wave
    }
}

impl Region {
    fn new(dice: &mut Dice, width: i32, height: i32) -> Self {
        let colors = calm_pair(dice);
        let texture = match dice.between(0, 3) {
            0 => {
                let angle = dice.between(0, 255);
                // The direction reaches from one colour to the other over about the longer side.
                let reach = width.max(height);
                let step = [sin(angle + 64) / reach, sin(angle) / reach];
                Texture::Gradient { step, offset: dice.between(64, 192) }
            }
            1 => Texture::Cloud { grain: dice.grain(), cell: dice.between(20, 64) },
            2 => Texture::Tiles {
                grain: dice.grain(),
                side: dice.between(14, 48),
                shift: [dice.between(0, 47), dice.between(0, 47)],
            },
            _ => Texture::Stripes {
                angle: dice.pick(&[0, 0, 64, 64, 32, 96, 16, 112]),
                width: dice.between(8, 30),
                wave: dice.between(0, 5),
            },
        };
        Self { texture, colors }
    }

    fn color(&self, x: i32, y: i32) -> Color {
        let [a, b] = self.colors;
        match self.texture {
            Texture::Gradient { step, offset } => {
                blend(a, b, (offset + ((x * step[0] + y * step[1]) >> 6)).clamp(0, 256))
            }
            Texture::Cloud { grain, cell } => {
                let coarse = grain.smooth(x, y, cell);
                let fine = grain.smooth(x + 7919, y + 104_729, cell / 3 + 1);
                blend(a, b, (coarse * 3 + fine) / 4)
            }
            Texture::Tiles { grain, side, shift } => {
                tiles(self.colors, grain, side, [x + shift[0], y + shift[1]])
            }
            Texture::Stripes { angle, width, wave } => {
                let along = (x * sin(angle) + y * sin(angle + 64)) >> 14;
                let across = (x * sin(angle + 64) - y * sin(angle)) >> 14;
                let at = (across + wave * sin(along * 3) / 16384).rem_euclid(2 * width);
                // A soft edge of two pixels on both sides.
                let t = ((at.min(2 * width - at) - width / 2) * 64 + 128).clamp(0, 256);
                blend(a, b, t)
            }
        }
    }
}

fn tiles(colors: [Color; 2], grain: Grain, side: i32, at: [i32; 2]) -> Color {
    let [cx, cy] = at.map(|v| v.div_euclid(side));
    let [x, y] = at.map(|v| v.rem_euclid(side));
    let field = scaled(colors[((cx + cy) & 1) as usize], lerp(236, 276, grain.at(cx, cy)));
    if x == 0 || y == 0 { scaled(field, 200) } else { field }
}
