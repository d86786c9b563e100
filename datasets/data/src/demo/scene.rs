//! One demo picture: a background, objects laid over one another, light and sensor noise.
//!
//! Integers only, so that every machine draws the same bytes. The steps draw their random numbers from streams of their
//! own; a later step never changes what an earlier one drew.

use image::RgbImage;

use super::color::{Color, blend, scaled, standing_out};
use super::dice::{Dice, sin};
use super::ground::Ground;
use super::shape::{HALF, Pose, SHAPES, Stamp};

/// Picture sizes, width × height; all sides are multiples of 32.
const SIZES: [[i32; 2]; 6] = [[256, 192], [320, 224], [288, 256], [256, 256], [224, 288], [320, 320]];

/// The most objects in one picture.
const MAX_OBJECTS: i32 = 8;
/// Radii, in pixels, of objects that are small, medium and large by COCO's areas (32² and 96² pixels), roughly: the
/// area also depends on the shape.
const SMALL: [i32; 2] = [11, 20];
const MEDIUM: [i32; 2] = [21, 54];
const LARGE: [i32; 2] = [58, 104];

/// An object must show at least this much of itself inside the picture, in percent, …
const MIN_INSIDE: i32 = 70;
/// … and keep at least this much uncovered by later objects: it can always be told what it is.
const MIN_VISIBLE: i32 = 60;

/// A drawn picture and what is in it.
pub(super) struct Scene {
    pub(super) picture: RgbImage,
    /// Row-major, per pixel: 0 for the background, k + 1 where `objects[k]` is the topmost object.
    pub(super) owner: Vec<u8>,
    pub(super) objects: Vec<Object>,
    /// What lies behind them.
    pub(super) ground: Ground,
}

/// One object of a scene, from back to front.
pub(super) struct Object {
    /// Position in [`SHAPES`].
    pub(super) class: usize,
    /// Pixels of its mask, were nothing in front and the picture endless.
    full: i32,
    /// Pixels of its mask that can be seen.
    visible: i32,
}

impl Scene {
    /// Draws picture `index` of the split numbered `split`.
    pub(super) fn draw(seed: u64, split: u64, index: u64) -> Self {
        let stream = |purpose: u64| Dice::new(&[seed, split, index, purpose]);
        let [width, height] = stream(0).pick(&SIZES);
        let mut canvas = Canvas::new(width, height, &mut stream(1));
        canvas.scatter_strokes(&mut stream(2));
        canvas.lay_objects(&mut stream(3));
        canvas.light(&mut stream(4));
        canvas.finish()
    }
}

struct Canvas {
    width: i32,
    height: i32,
    pixels: Vec<Color>,
    owner: Vec<u8>,
    objects: Vec<Object>,
    ground: Ground,
}

impl Canvas {
    fn new(width: i32, height: i32, dice: &mut Dice) -> Self {
        let ground = Ground::new(dice, width, height);
        let pixels = (0..height)
            .flat_map(|y| (0..width).map(move |x| (x, y)))
            .map(|(x, y)| ground.color(x, y))
            .collect();
        Self { width, height, pixels, owner: vec![0; (width * height) as usize], objects: Vec::new(), ground }
    }

    fn index(&self, x: i32, y: i32) -> usize {
        (y * self.width + x) as usize
    }

    /// Thin curved lines that are no objects: clutter that a detector has to ignore.
    fn scatter_strokes(&mut self, dice: &mut Dice) {
        for _ in 0..dice.between(0, 4) {
            // Position and heading in 64ths of a pixel.
            let mut at = [dice.between(0, self.width * 64), dice.between(0, self.height * 64)];
            let mut angle = dice.between(0, 255);
            let bend = dice.between(-2, 2);
            let tone = dice.pick(&[96, 150, 350]);
            for step in 0..dice.between(60, 320) {
                let [x, y] = at.map(|v| v >> 6);
                if (0..self.width - 1).contains(&x) && (0..self.height).contains(&y) {
                    let i = self.index(x, y);
                    self.pixels[i] = scaled(self.pixels[i], tone);
                }
                at = [at[0] + (sin(angle + 64) >> 8), at[1] + (sin(angle) >> 8)];
                if step % 4 == 0 {
                    angle += bend;
                }
            }
        }
    }

    fn lay_objects(&mut self, dice: &mut Dice) {
        let wanted = if dice.chance(3) { 0 } else { dice.between(1, MAX_OBJECTS) };
        let mut centers: Vec<[i32; 2]> = Vec::new();
        for _ in 0..wanted {
            let class = dice.between(0, SHAPES.len() as i32 - 1) as usize;
            for _try in 0..12 {
                let pose = self.propose(dice, &centers);
                let stamp = Stamp::new(SHAPES[class], pose);
                if self.fits(&stamp) {
                    self.paint(dice, class, &stamp);
                    centers.push(pose.center);
                    break;
                }
            }
        }
    }

    /// A random place and size. The first two are large more often: later ones find less room.
    fn propose(&self, dice: &mut Dice, centers: &[[i32; 2]]) -> Pose {
        let kinds: &[[i32; 2]] =
            if centers.len() < 2 { &[SMALL, MEDIUM, LARGE, LARGE] } else { &[SMALL, MEDIUM, MEDIUM] };
        let [low, high] = dice.pick(kinds);
        let radius = dice.between(low, high);
        let mut center = [dice.between(0, self.width * 8 - 1), dice.between(0, self.height * 8 - 1)];
        if !centers.is_empty() && dice.chance(35) {
            // Close to an object that is there, so that some hide parts of others.
            let near = dice.pick(centers);
            let reach = (radius + 24) * 8;
            center = near.map(|v| v + dice.between(-reach, reach));
        }
        let squash = if dice.chance(50) { 256 } else { dice.between(200, 256) };
        Pose { center, radius: radius * 8, angle: dice.between(0, 255), squash }
    }

    /// Would enough of it be seen, and enough of all that it covers?
    fn fits(&self, stamp: &Stamp) -> bool {
        let mut hidden = vec![0; self.objects.len()];
        let mut inside = 0;
        for (i, x, y) in stamp.pixels(self.width, self.height) {
            if stamp.coverage[i] >= HALF {
                inside += 1;
                if let Some(k) = usize::from(self.owner[self.index(x, y)]).checked_sub(1) {
                    hidden[k] += 1;
                }
            }
        }
        inside * 100 >= stamp.area() * MIN_INSIDE
            && self
                .objects
                .iter()
                .zip(hidden)
                .all(|(o, hidden)| (o.visible - hidden) * 100 >= o.full * MIN_VISIBLE)
    }

    fn paint(&mut self, dice: &mut Dice, class: usize, stamp: &Stamp) {
        let under = self.mean_under(stamp);
        let fill = Fill::new(dice, under);
        let number = self.objects.len() as u8 + 1;
        if dice.chance(60) {
            self.cast_shadow(dice, stamp);
        }
        let mut visible = 0;
        for (i, x, y) in stamp.pixels(self.width, self.height) {
            let at = self.index(x, y);
            let alpha = i32::from(stamp.coverage[i]) * 16;
            if alpha > 0 {
                self.pixels[at] = blend(self.pixels[at], fill.color(stamp, i, x, y), alpha);
            }
            if stamp.coverage[i] >= HALF {
                let previous = std::mem::replace(&mut self.owner[at], number);
                if previous > 0 {
                    self.objects[usize::from(previous) - 1].visible -= 1;
                }
                visible += 1;
            }
        }
        self.objects.push(Object { class, full: stamp.area(), visible });
    }

    fn mean_under(&self, stamp: &Stamp) -> Color {
        let (mut sum, mut count) = ([0; 3], 1);
        for (_, x, y) in stamp.pixels(self.width, self.height).filter(|&(i, ..)| stamp.coverage[i] >= HALF) {
            let pixel = self.pixels[self.index(x, y)];
            (0..3).for_each(|c| sum[c] += pixel[c]);
            count += 1;
        }
        sum.map(|s| s / count)
    }

    /// Darkens what lies to the lower right of the object that is about to be painted.
    fn cast_shadow(&mut self, dice: &mut Dice, stamp: &Stamp) {
        let offset = 1 + stamp.size[0] / 14;
        let strength = dice.between(60, 120);
        for (i, x, y) in stamp.pixels(self.width - offset, self.height - offset) {
            if x + offset >= 0 && y + offset >= 0 {
                let at = self.index(x + offset, y + offset);
                self.pixels[at] = scaled(self.pixels[at], 256 - strength * i32::from(stamp.coverage[i]) / 16);
            }
        }
    }

    /// Uneven light over the whole picture and the noise of a sensor.
    fn light(&mut self, dice: &mut Dice) {
        let slope = [dice.between(-56, 56), dice.between(-56, 56)];
        let level = dice.between(232, 272);
        let (strength, grains) = (dice.between(2, 9), [dice.grain(), dice.grain(), dice.grain()]);
        let luma = dice.grain();
        for y in 0..self.height {
            for x in 0..self.width {
                let shade = level
                    + slope[0] * (2 * x - self.width) / (2 * self.width)
                    + slope[1] * (2 * y - self.height) / (2 * self.height);
                let at = self.index(x, y);
                let lit = scaled(self.pixels[at], shade);
                let common = luma.at(x, y) - 128;
                for c in 0..3 {
                    let noise = (common + (grains[c].at(x, y) - 128) / 2) * strength / 128;
                    self.pixels[at][c] = (lit[c] + noise).clamp(0, 255);
                }
            }
        }
    }

    fn finish(self) -> Scene {
        let bytes = self.pixels.iter().flatten().map(|&v| v as u8).collect();
        let picture =
            RgbImage::from_raw(self.width as u32, self.height as u32, bytes).expect("one color per pixel");
        Scene { picture, owner: self.owner, objects: self.objects, ground: self.ground }
    }
}

/// How the inside of an object is coloured.
struct Fill {
    colors: [Color; 2],
    pattern: Pattern,
    has_rim: bool,
}

#[derive(Clone, Copy)]
enum Pattern {
    Plain,
    /// Lighter in the middle, like a ball or a lamp.
    Domed,
    /// Two colours in bands of a width, in a direction (256ths of a turn).
    Banded {
        angle: i32,
        width: i32,
    },
    /// Two colours in soft patches.
    Mottled {
        grain: super::dice::Grain,
        cell: i32,
    },
}

impl Fill {
    fn new(dice: &mut Dice, under: Color) -> Self {
        let main = standing_out(dice, under);
        let other = blend(main, standing_out(dice, under), dice.between(70, 150));
        let pattern = match dice.between(0, 5) {
            0 | 1 => Pattern::Plain,
            2 | 3 => Pattern::Domed,
            4 => Pattern::Banded { angle: dice.between(0, 255), width: dice.between(3, 9) },
            _ => Pattern::Mottled { grain: dice.grain(), cell: dice.between(5, 14) },
        };
        Self { colors: [main, other], pattern, has_rim: dice.chance(45) }
    }

    fn color(&self, stamp: &Stamp, i: usize, x: i32, y: i32) -> Color {
        let [main, other] = self.colors;
        let color = match self.pattern {
            Pattern::Plain => main,
            Pattern::Domed => scaled(main, 190 + i32::from(stamp.depth[i]) * 90 / 256),
            Pattern::Banded { angle, width } => {
                let across = (x * sin(angle) + y * sin(angle + 64)) >> 14;
                if across.rem_euclid(2 * width) < width { main } else { other }
            }
            Pattern::Mottled { grain, cell } => blend(main, other, grain.smooth(x, y, cell)),
        };
        if self.has_rim && stamp.rim[i] { scaled(color, 130) } else { color }
    }
}
