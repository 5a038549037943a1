use super::super::rng::Rng;
use super::super::simd::with_isa;
use super::*;

const SHAPES: [ConvShape; 5] = [
    ConvShape { length: 1, dim: 3, vertical: 1, horizontal: 2 },
    ConvShape { length: 5, dim: 20, vertical: 2, horizontal: 16 },
    ConvShape { length: 3, dim: 16, vertical: 3, horizontal: 4 },
    ConvShape { length: 4, dim: 130, vertical: 0, horizontal: 19 },
    ConvShape { length: 2, dim: 33, vertical: 4, horizontal: 0 },
];

/// Everything that goes into the layer, random; padding is 0.
struct Case {
    shape: ConvShape,
    windows: Vec<f32>,
    vertical: Vec<f32>,
    vertical_bias: Vec<f32>,
    filters: Vec<f32>,
    horizontal_bias: Vec<f32>,
    /// Of the outputs, many of them 0; rows are `out_stride` apart.
    grads: Vec<f32>,
    out_stride: usize,
}

const N: usize = 23;

impl Case {
    fn new(shape: ConvShape) -> Self {
        let mut rng = Rng::new(3);
        let mut draw = |n: usize| {
            let mut numbers = vec![0.0; n];
            rng.fill_normal(&mut numbers, 0.0, 1.0);
            numbers
        };
        let unpad = |numbers: &mut [f32]| {
            numbers.chunks_exact_mut(shape.stride()).for_each(|row| row[shape.dim..].fill(0.0));
        };
        let out_stride = shape.outputs().next_multiple_of(16);
        let mut case = Self {
            shape,
            windows: draw(N * shape.window()),
            vertical: draw(shape.vertical * shape.length),
            vertical_bias: draw(shape.vertical),
            filters: draw(shape.filters()),
            horizontal_bias: draw(shape.pooled()),
            grads: draw(N * out_stride),
            out_stride,
        };
        unpad(&mut case.windows);
        unpad(&mut case.filters);
        case.grads.iter_mut().step_by(3).for_each(|grad| *grad = 0.0);
        case
    }

    fn convolve(&self, activation: Activation) -> (Vec<f32>, Vec<u32>) {
        let mut packed = Vec::new();
        pack(self.shape, &self.filters, &mut packed);
        let weights = Weights {
            vertical: &self.vertical,
            vertical_bias: &self.vertical_bias,
            packed: &packed,
            horizontal_bias: &self.horizontal_bias,
        };
        let mut out = vec![0.0; N * self.out_stride];
        let mut positions = vec![9; N * self.shape.pooled()];
        // In two calls: windows are independent.
        let cut = 5;
        let (out_a, out_b) = out.split_at_mut(cut * self.out_stride);
        let (positions_a, positions_b) = positions.split_at_mut(cut * self.shape.pooled());
        let (windows_a, windows_b) = self.windows.split_at(cut * self.shape.window());
        for (windows, out, positions) in
            [(windows_a, out_a, positions_a), (windows_b, out_b, positions_b)]
        {
            convolve(self.shape, activation, weights, windows, out, self.out_stride, positions);
        }
        (out, positions)
    }

    /// The layer by its definition, in f64, before horizontal activations: the outputs and positions of a window.
    fn naive(&self, w: usize) -> (Vec<f64>, Vec<u32>) {
        let ConvShape { length, dim, vertical, horizontal } = self.shape;
        let stride = self.shape.stride();
        let e = |i: usize, k: usize| f64::from(self.windows[(w * length + i) * stride + k]);
        let (mut out, mut positions) = (Vec::new(), Vec::new());
        for v in 0..vertical {
            for k in 0..dim {
                out.push((0..length).fold(f64::from(self.vertical_bias[v]), |sum, i| {
                    sum + f64::from(self.vertical[v * length + i]) * e(i, k)
                }));
            }
        }
        for h in 1..=length {
            for f in 0..horizontal {
                let bias = f64::from(self.horizontal_bias[(h - 1) * horizontal + f]);
                let product = |p: usize| {
                    (0..h * dim).fold(bias, |sum, j| {
                        let (r, k) = (j / dim, j % dim);
                        let weight = self.filters[self.shape.filter_at(h, f) + r * stride + k];
                        sum + f64::from(weight) * e(p + r, k)
                    })
                };
                let best = (0..=length - h)
                    .fold(0, |best, p| if product(p) > product(best) { p } else { best });
                out.push(product(best));
                positions.push(best as u32);
            }
        }
        (out, positions)
    }

    /// The gradients of windows, filters, their biases, vertical filters, and theirs; filters in three parts.
    fn backward(&self, positions: &[u32]) -> [Vec<f32>; 5] {
        let (shape, out_stride) = (self.shape, self.out_stride);
        let mut windows = vec![f32::NAN; self.windows.len()];
        to_windows(
            shape,
            &self.vertical,
            &self.filters,
            &self.grads,
            out_stride,
            positions,
            &mut windows,
        );
        let (mut filters, mut bias) = (vec![0.0; shape.filters()], vec![0.0; shape.pooled()]);
        for h in 1..=shape.length {
            let cut = shape.horizontal / 3;
            for range in [0..cut, cut..shape.horizontal] {
                // Block after block of the batch.
                for (first, n) in [(0, 10), (10, N - 10)] {
                    let at = shape.filter_at(h, range.start)..shape.filter_at(h, range.end);
                    let bias_at = (h - 1) * shape.horizontal;
                    to_filters(
                        shape,
                        h,
                        range.clone(),
                        &self.windows[first * shape.window()..][..n * shape.window()],
                        &self.grads[first * out_stride..][..n * out_stride],
                        out_stride,
                        &positions[first * shape.pooled()..][..n * shape.pooled()],
                        &mut filters[at],
                        &mut bias[bias_at + range.start..bias_at + range.end],
                    );
                }
            }
        }
        let mut vertical = vec![f32::NAN; shape.vertical * shape.length];
        let vertical_bias = (0..shape.vertical)
            .map(|v| {
                let out = &mut vertical[v * shape.length..][..shape.length];
                to_vertical(shape, v, &self.windows, &self.grads, out_stride, out)
            })
            .collect();
        [windows, filters, bias, vertical, vertical_bias]
    }

    /// Sum over outputs of gradient times output: its slopes are what `backward` must give.
    fn objective(&self) -> f64 {
        (0..N).fold(0.0, |sum, w| {
            let (out, _) = self.naive(w);
            let grads = &self.grads[w * self.out_stride..];
            sum + out.iter().zip(grads).fold(0.0, |sum, (y, g)| sum + y * f64::from(*g))
        })
    }
}

#[test]
fn outputs_and_positions_are_those_of_the_definition() {
    for shape in SHAPES {
        let case = Case::new(shape);
        for isa in Isa::ALL {
            with_isa(isa, 1, || {
                let (out, positions) = case.convolve(Activation::Identity);
                let (activated, _) = case.convolve(Activation::Tanh);
                for w in 0..N {
                    let (expected, places) = case.naive(w);
                    assert_eq!(&positions[w * shape.pooled()..][..shape.pooled()], places);
                    for (j, y) in expected.into_iter().enumerate() {
                        let at = w * case.out_stride + j;
                        assert!((f64::from(out[at]) - y).abs() < 1e-4, "{shape:?}");
                        let y = if j < shape.vertical * shape.dim { y } else { y.tanh() };
                        assert!((f64::from(activated[at]) - y).abs() < 1e-4, "{shape:?}");
                    }
                }
            });
        }
    }
}

#[test]
fn gradients_are_the_slopes_of_the_definition() {
    const EPS: f32 = 1.0 / 1024.0;
    for shape in SHAPES.into_iter().filter(|shape| shape.dim < 40) {
        let mut case = Case::new(shape);
        let (_, positions) = case.convolve(Activation::Identity);
        let ours = case.backward(&positions);
        let parts: [fn(&mut Case) -> &mut Vec<f32>; 5] = [
            |case| &mut case.windows,
            |case| &mut case.filters,
            |case| &mut case.horizontal_bias,
            |case| &mut case.vertical,
            |case| &mut case.vertical_bias,
        ];
        for (part, ours) in parts.into_iter().zip(&ours) {
            assert_eq!(part(&mut case).len(), ours.len());
            let mut kinks = 0;
            for i in (0..ours.len()).step_by(1 + ours.len() / 150) {
                let stride = shape.stride();
                if ours.len() % stride == 0 && ours.len() > stride && i % stride >= shape.dim {
                    assert_eq!(ours[i], 0.0, "padding");
                    continue;
                }
                let before = part(&mut case)[i];
                let mut at = |by: f32| {
                    part(&mut case)[i] = before + by;
                    (case.objective(), f64::from(before + by))
                };
                let (down, up, here) = (at(-EPS), at(EPS), at(0.0)); // left as it was
                // Where the largest product changes the slope does too; everything else is linear.
                let bend =
                    (up.0 - here.0) / (up.1 - here.1) - (here.0 - down.0) / (here.1 - down.1);
                if bend.abs() > 1e-4 {
                    kinks += 1;
                    continue;
                }
                let slope = (up.0 - down.0) / (up.1 - down.1);
                let off = (f64::from(ours[i]) - slope).abs();
                assert!(off < 1e-4 * slope.abs().max(1.0), "{shape:?} {i}: {} {slope}", ours[i]);
            }
            assert!(kinks * 20 <= ours.len(), "{kinks} kinks");
        }
    }
}

#[test]
fn every_instruction_set_with_fma_gives_the_same_bits() {
    for shape in SHAPES {
        let case = Case::new(shape);
        let mut first = None;
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_fused()) {
            with_isa(isa, 1, || {
                let (out, positions) = case.convolve(Activation::Sigmoid);
                let all = (case.backward(&positions), out, positions);
                assert!(first.get_or_insert_with(|| all.clone()) == &all, "{}", isa.name());
            });
        }
    }
}

#[test]
fn a_window_of_two_items_by_hand() {
    // Items 1, 3 (one number each); a vertical filter 2, -1 with bias 0.5; of heights 1 and 2 a filter each.
    let shape = ConvShape { length: 2, dim: 1, vertical: 1, horizontal: 1 };
    let mut windows = vec![0.0; 32];
    (windows[0], windows[16]) = (1.0, 3.0);
    let mut filters = vec![0.0; shape.filters()];
    (filters[0], filters[16], filters[32]) = (-2.0, 1.0, 10.0);
    let mut packed = Vec::new();
    pack(shape, &filters, &mut packed);
    let weights = Weights {
        vertical: &[2.0, -1.0],
        vertical_bias: &[0.5],
        packed: &packed,
        horizontal_bias: &[1.0, -32.0],
    };
    let (mut out, mut positions) = ([9.0; 3], [9; 2]);
    convolve(shape, Activation::Relu, weights, &windows, &mut out, 3, &mut positions);
    // 0.5 + 2 - 3; the larger of -2 and -6, plus 1, cut off at 0; 1 + 30 - 32, cut off too.
    assert_eq!((out, positions), ([-0.5, 0.0, 0.0], [0, 0]));
    convolve(shape, Activation::Identity, weights, &windows, &mut out, 3, &mut positions);
    assert_eq!(out, [-0.5, -1.0, -1.0]);
}

#[test]
fn of_equal_products_the_first_counts() {
    let shape = ConvShape { length: 3, dim: 1, vertical: 0, horizontal: 1 };
    let mut windows = vec![0.0; 48];
    (windows[0], windows[16], windows[32]) = (1.0, 2.0, 2.0);
    let mut filters = vec![0.0; shape.filters()];
    filters[0] = 1.0;
    let mut packed = Vec::new();
    pack(shape, &filters, &mut packed);
    let weights =
        Weights { vertical: &[], vertical_bias: &[], packed: &packed, horizontal_bias: &[0.0; 3] };
    let (mut out, mut positions) = ([0.0; 3], [9; 3]);
    convolve(shape, Activation::Identity, weights, &windows, &mut out, 3, &mut positions);
    assert_eq!((out[0], positions), (2.0, [1, 0, 0]));
}
