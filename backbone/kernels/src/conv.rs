//! Dense convolution of any kernel, stride and padding, as a matrix product over taps.
//!
//! Channels last, a row of output pixels times a tap of the kernel is a matrix product whose input lies in the map already, so nothing is
//! copied for the columns all of whose taps are inside. Kernel rows outside are left out of the sum. Only the few columns at the left and right border
//! (and all pixels of very narrow maps) are gathered into a matrix with zeros where the padding is.

use std::ops::Range;

use crate::count;
use crate::epilogue::{Act, RowBlock};
use crate::gelu_row;
use crate::gemm::tile::{self, Ahead, Rows, Start, Tap};
use crate::gemm::{PANEL, PackedMatrix};
use crate::isa::Isa;
use crate::map::{Map, MapMut};
use crate::par::{self, SharedMut};
use crate::scratch;

/// The shape of a convolution: kernel, stride and zero padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Output channels.
    pub co: usize,
    /// Input channels.
    pub ci: usize,
    /// Kernel rows.
    pub kh: usize,
    /// Kernel columns.
    pub kw: usize,
    /// Pixels from one output to the next, in both directions.
    pub stride: usize,
    /// Rows of zeros above and below.
    pub pad_h: usize,
    /// Columns of zeros left and right.
    pub pad_w: usize,
}

impl ConvShape {
    /// A square kernel with equal padding on all sides.
    pub fn square(co: usize, ci: usize, kernel: usize, stride: usize, pad: usize) -> ConvShape {
        ConvShape { co, ci, kh: kernel, kw: kernel, stride, pad_h: pad, pad_w: pad }
    }

    /// Rows and columns of the result for an input of `h × w` pixels (floor; 0 where the kernel does not fit once).
    pub fn out_size(&self, h: usize, w: usize) -> (usize, usize) {
        let along = |size: usize, kernel: usize, pad: usize| {
            (size + 2 * pad).checked_sub(kernel).map_or(0, |room| room / self.stride + 1)
        };
        // An input without pixels has no output, however wide the padding is.
        if h == 0 || w == 0 { (0, 0) } else { (along(h, self.kh, self.pad_h), along(w, self.kw, self.pad_w)) }
    }
}

/// Convolution weights, packed as a matrix whose rows run over (ky, kx, input channel).
#[derive(Clone, Debug)]
pub struct PackedConv {
    pub(crate) shape: ConvShape,
    pub(crate) matrix: PackedMatrix,
}

impl PackedConv {
    /// Packs `w`, `[co][ci][kh][kw]` (the layout of PyTorch). No bias means zeros.
    ///
    /// # Panics
    /// When the lengths do not fit the shape, or the stride or the kernel is 0.
    pub fn pack(w: &[f32], shape: ConvShape, bias: Option<&[f32]>) -> PackedConv {
        let ConvShape { co, ci, kh, kw, stride, .. } = shape;
        assert!(stride > 0 && kh > 0 && kw > 0, "a convolution needs a kernel and a stride: {shape:?}");
        assert_eq!(w.len(), co * ci * kh * kw, "weights of {shape:?}");
        let (taps, k) = (kh * kw, kh * kw * ci);
        let mut rows = vec![0.0; co * k];
        for (out, row) in rows.chunks_exact_mut(k.max(1)).enumerate() {
            for tap in 0..taps {
                for i in 0..ci {
                    row[tap * ci + i] = w[(out * ci + i) * taps + tap];
                }
            }
        }
        PackedConv { shape, matrix: PackedMatrix::pack(&rows, co, k, bias) }
    }

    /// The shape it was packed for.
    pub fn shape(&self) -> ConvShape {
        self.shape
    }
}

/// Convolution of several maps (pyramid levels) with the same weights, with the fastest instruction set.
///
/// # Shapes
/// `xs[l]`: `[n, h, w, ci]`, `outs[l]`: `[n, h', w', co]` with [`ConvShape::out_size`]; any pixel strides.
///
/// # Panics
/// When a shape does not fit.
pub fn conv2d(xs: &[Map<'_>], w: &PackedConv, act: Act, outs: &mut [MapMut<'_>]) {
    conv2d_with(Isa::current(), xs, w, act, outs);
}

/// [`conv2d`] with a given instruction set.
///
/// # Panics
/// When a shape does not fit, or the processor lacks the instruction set.
pub fn conv2d_with(isa: Isa, xs: &[Map<'_>], w: &PackedConv, act: Act, outs: &mut [MapMut<'_>]) {
    check_levels(xs, w.shape, outs);
    let levels: Vec<Level<'_>> =
        xs.iter().zip(outs).map(|(x, out)| Level::new(*x, w.shape, out.reborrow())).collect();
    let bands: Vec<Band<'_>> = levels.iter().flat_map(Level::bands).collect();
    let work = levels.iter().map(|l| l.x.n * l.oh * l.ow).sum::<usize>() * w.matrix.k * w.matrix.n_out;
    count::add(work);
    let (panels, threads) = (w.matrix.panel_count(), par::threads_for(work));
    // Small maps have few bands: give every thread some panels instead.
    let groups = if threads == 1 { 1 } else { (2 * threads).div_ceil(bands.len().max(1)) };
    let group = panels.div_ceil(groups).max(1);
    let groups = panels.div_ceil(group);
    let pass = Pass { rows: tile::rows(isa), gelu: gelu_row::gelu_rows(isa), w, act };
    par::for_each(bands.len() * groups, work, |task| {
        let first = task % groups * group;
        // SAFETY: `check_levels` has checked all shapes, and tasks write disjoint rows or columns of the outputs.
        unsafe { pass.band(&bands[task / groups], first..(first + group).min(panels)) };
    });
}

/// Input floats of a band of rows: 0.75 MB stay in the second-level cache while the panels pass.
const BAND_FLOATS: usize = 192 << 10;

/// Below that many columns without padding, a row of a map is too short for the register tiles and is gathered instead.
const MIN_INTERIOR: usize = 8;

/// One map of the call.
struct Level<'a> {
    x: Map<'a>,
    shape: ConvShape,
    oh: usize,
    ow: usize,
    out: SharedMut,
    out_stride: usize,
    /// Output columns all of whose taps are within the map.
    interior: Range<usize>,
}

/// Some output rows of one picture of a level.
struct Band<'a> {
    level: &'a Level<'a>,
    image: usize,
    rows: Range<usize>,
}

impl<'a> Level<'a> {
    fn new(x: Map<'a>, shape: ConvShape, out: MapMut<'_>) -> Level<'a> {
        let ConvShape { kw, stride, pad_w, .. } = shape;
        let left = pad_w.div_ceil(stride);
        let right = (x.w + pad_w).checked_sub(kw).map_or(0, |room| room / stride + 1).min(out.w);
        let interior = if right.saturating_sub(left) >= MIN_INTERIOR { left..right } else { 0..0 };
        let (oh, ow, out_stride) = (out.h, out.w, out.stride);
        Level { x, shape, oh, ow, out: SharedMut::new(out.data), out_stride, interior }
    }

    fn bands(&self) -> impl Iterator<Item = Band<'_>> {
        let ConvShape { ci, kh, kw, stride, .. } = self.shape;
        // Gathered pixels hold every input float once per tap.
        let copies = if self.interior.is_empty() { kh * kw } else { stride * stride };
        let rows = (BAND_FLOATS / (self.ow * ci * copies).max(1)).clamp(1, self.oh.max(1));
        (0..self.x.n).flat_map(move |image| {
            let band = move |y: usize| Band { level: self, image, rows: y..(y + rows).min(self.oh) };
            (0..self.oh).step_by(rows).map(band)
        })
    }

    /// The input row under kernel row `ky` of output row `y`, when it is within the map.
    fn input_row(&self, y: usize, ky: usize) -> Option<usize> {
        (y * self.shape.stride + ky).checked_sub(self.shape.pad_h).filter(|y| *y < self.x.h)
    }

    /// The pixels of an output row that the row before did not read.
    fn ahead(&self, image: usize, y: usize) -> Ahead {
        let ConvShape { kh, stride, pad_h, .. } = self.shape;
        let end = (y * stride + kh).saturating_sub(pad_h).min(self.x.h);
        let row = |y: usize| (image * self.x.h + y) * self.x.w * self.x.stride;
        let data = self.x.data.get(row(end.saturating_sub(stride))..row(end)).unwrap_or(&[]);
        Ahead::of(data)
    }

    /// Where the taps of an interior output row lie, for the first interior column. Kernel rows outside of the map are left out.
    fn taps(&self, image: usize, y: usize) -> Vec<Tap> {
        let ConvShape { ci, kh, kw, stride, pad_w, .. } = self.shape;
        if self.interior.is_empty() {
            return Vec::new(); // every column is at the border
        }
        let mut taps = Vec::with_capacity(kh * kw);
        for ky in 0..kh {
            let Some(row) = self.input_row(y, ky) else { continue };
            let pixel = (image * self.x.h + row) * self.x.w + self.interior.start * stride - pad_w;
            let (offset, k0) = (pixel * self.x.stride, ky * kw * ci);
            if self.x.stride == ci {
                taps.push(Tap { offset, k0, len: kw * ci }); // neighbours follow each other in memory: one run
            } else {
                taps.extend((0..kw).map(|kx| Tap {
                    offset: offset + kx * self.x.stride,
                    k0: k0 + kx * ci,
                    len: ci,
                }));
            }
        }
        taps
    }

    /// The output columns that are gathered.
    fn edge(&self) -> impl Iterator<Item = usize> + Clone {
        (0..self.interior.start).chain(self.interior.end..self.ow)
    }

    /// Copies the inputs of one output pixel, zeros outside of the map, in the order of the packed weights.
    fn gather(&self, image: usize, y: usize, x: usize, to: &mut [f32]) {
        let ConvShape { ci, kh, kw, stride, pad_w, .. } = self.shape;
        for ky in 0..kh {
            for kx in 0..kw {
                let to = &mut to[(ky * kw + kx) * ci..][..ci];
                let column = (x * stride + kx).checked_sub(pad_w).filter(|x| *x < self.x.w);
                match (self.input_row(y, ky), column) {
                    (Some(y), Some(x)) => {
                        to.copy_from_slice(self.x.pixel((image * self.x.h + y) * self.x.w + x));
                    }
                    _ => to.fill(0.0),
                }
            }
        }
    }
}

/// A checked call.
struct Pass<'a> {
    rows: unsafe fn(&Rows<'_>),
    gelu: unsafe fn(&RowBlock),
    w: &'a PackedConv,
    act: Act,
}

impl Pass<'_> {
    /// A band of rows times a group of panels.
    ///
    /// # Safety
    /// `check_levels` has passed, the rows and panels exist, and nobody else writes these columns of these rows.
    unsafe fn band(&self, band: &Band<'_>, panels: Range<usize>) {
        let Band { level, image, rows } = band;
        let k = self.w.matrix.k;
        let pixels: Vec<(usize, usize)> =
            rows.clone().flat_map(|y| level.edge().map(move |x| (y, x))).collect();
        let mut gathered = scratch::take(pixels.len() * k);
        for (&(y, x), to) in pixels.iter().zip(gathered.chunks_exact_mut(k.max(1))) {
            level.gather(*image, y, x, to);
        }
        let mut results = scratch::take(pixels.len() * PANEL);
        let taps: Vec<Vec<Tap>> = rows.clone().map(|y| level.taps(*image, y)).collect();
        for panel in panels.clone() {
            // SAFETY: the caller's contract.
            unsafe {
                self.interior(band, panel, &taps, panel == panels.start);
                self.edge(band, panel, &pixels, &gathered, &mut results);
                if self.act == Act::Gelu {
                    let (p, columns) = self.output(band, panel, rows.start, 0);
                    (self.gelu)(&RowBlock { p, stride: level.out_stride, m: rows.len() * level.ow, columns });
                }
            }
        }
    }

    /// The columns whose taps are all within the map: read where they lie. The first panel asks for the rows of pixels, which the others find near.
    unsafe fn interior(&self, band: &Band<'_>, panel: usize, taps: &[Vec<Tap>], first: bool) {
        let Band { level, image, .. } = band;
        if level.interior.is_empty() {
            return;
        }
        for (y, taps) in band.rows.clone().zip(taps) {
            // SAFETY: the taps of all interior columns are within the checked input, the columns within the checked output.
            unsafe {
                let (c, columns) = self.output(band, panel, y, level.interior.start);
                (self.rows)(&Rows {
                    a: level.x.data.as_ptr(),
                    lda: level.shape.stride * level.x.stride,
                    m: level.interior.len(),
                    taps,
                    columns,
                    ahead: if y + 1 == band.rows.end {
                        Ahead::of(self.w.matrix.panel(panel + 1))
                    } else if first {
                        level.ahead(*image, y + 1)
                    } else {
                        Ahead::NONE
                    },
                    ..self.product(panel, c, level.out_stride)
                });
            }
        }
    }

    /// The other columns: multiplied where they were gathered, then copied to their places.
    unsafe fn edge(
        &self,
        band: &Band<'_>,
        panel: usize,
        pixels: &[(usize, usize)],
        gathered: &[f32],
        results: &mut [f32],
    ) {
        let k = self.w.matrix.k;
        let columns = PANEL.min(self.w.matrix.n_out - panel * PANEL);
        let c = results.as_mut_ptr();
        // SAFETY: `gathered` holds `k` floats and `results` a panel's row for every pixel.
        unsafe {
            (self.rows)(&Rows {
                a: gathered.as_ptr(),
                lda: k,
                m: pixels.len(),
                taps: &[Tap { offset: 0, k0: 0, len: k }],
                columns,
                ..self.product(panel, c, PANEL)
            });
        }
        for (&(y, x), result) in pixels.iter().zip(results.chunks_exact(PANEL)) {
            // SAFETY: the pixel is within the checked output, and `results` is a buffer of our own.
            unsafe {
                let (to, _) = self.output(band, panel, y, x);
                std::ptr::copy_nonoverlapping(result.as_ptr(), to, columns);
            }
        }
    }

    /// What all products with a panel share.
    fn product(&self, panel: usize, c: *mut f32, ldc: usize) -> Rows<'_> {
        Rows {
            a: std::ptr::null(),
            lda: 0,
            m: 0,
            taps: &[],
            panel: self.w.matrix.panel(panel),
            start: Start::Bias(self.w.matrix.bias[panel * PANEL..].as_ptr()),
            c,
            ldc,
            columns: 0,
            relu: self.act == Act::Relu,
            residuals: &[],
            ahead: Ahead::NONE,
        }
    }

    /// Where a panel's results of an output pixel go, and how many columns they have.
    ///
    /// # Safety
    /// The pixel is within the output.
    unsafe fn output(&self, band: &Band<'_>, panel: usize, y: usize, x: usize) -> (*mut f32, usize) {
        let (level, column) = (band.level, panel * PANEL);
        let pixel = (band.image * level.oh + y) * level.ow + x;
        // SAFETY: the caller's contract.
        let p = unsafe { level.out.get().add(pixel * level.out_stride + column) };
        (p, PANEL.min(self.w.matrix.n_out - column))
    }
}

/// Panics unless every level's input and output fit the convolution.
pub(crate) fn check_levels(xs: &[Map<'_>], shape: ConvShape, outs: &[MapMut<'_>]) {
    assert_eq!(xs.len(), outs.len(), "one output per level");
    for (x, out) in xs.iter().zip(outs) {
        x.check();
        out.check();
        assert_eq!(x.c, shape.ci, "input channels of {shape:?}");
        let (h, w) = shape.out_size(x.h, x.w);
        assert_eq!(out.shape(), [x.n, h, w, shape.co], "output of {shape:?} for an input of {:?}", x.shape());
    }
}
