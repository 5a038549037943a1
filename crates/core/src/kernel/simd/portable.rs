//! Arrays of 16, which the compiler turns into what the target's baseline has.

use super::{Isa, LANES, Simd};

/// Runs anywhere.
#[derive(Clone, Copy)]
pub struct Portable;

type F = [f32; LANES];
type I = [i32; LANES];
/// -1 where set, 0 elsewhere: masks then are plain bit operations, which vectorise.
type M = [i32; LANES];

macro_rules! lanes {
    (|$($x:ident),+| $body:expr) => {{
        let mut out = [Default::default(); LANES];
        for i in 0..LANES {
            $(let $x = $x[i];)+
            out[i] = $body;
        }
        out
    }};
}

/// One step of the tree over lanes, as [`Simd::hsum`] has it.
macro_rules! tree {
    ($x:expr, |$a:ident, $b:ident| $body:expr) => {{
        let mut x = $x;
        let mut half = LANES / 2;
        while half > 0 {
            for i in 0..half {
                let ($a, $b) = (x[i], x[i + half]);
                x[i] = $body;
            }
            half /= 2;
        }
        x[0]
    }};
}

#[inline(always)]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if Portable::FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// The same number, for finite ones: exponent and fraction moved into their places, then the difference of
/// the two biases made up by a product, which is exact for subnormal ones too.
#[inline(always)]
pub(in crate::kernel) fn half_to_float(half: u16) -> f32 {
    let magnitude =
        f32::from_bits(u32::from(half & 0x7fff) << 13) * f32::from_bits((254 - 15) << 23);
    f32::from_bits(magnitude.to_bits() | u32::from(half & 0x8000) << 16)
}

#[allow(clippy::needless_range_loop)]
impl Simd for Portable {
    type F = F;
    type I = I;
    type M = M;
    const ISA: Isa = Isa::Portable;
    /// `f32::mul_add` is a library call, some 50 times as slow, where the target has no instruction for it.
    const FUSED: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"));

    #[inline(always)]
    unsafe fn load_ptr(self, from: *const f32) -> F {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<F>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, to: *mut f32, x: F) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<F>().write_unaligned(x) }
    }
    #[inline(always)]
    unsafe fn load_int_ptr(self, from: *const i32) -> I {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<I>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store_int_ptr(self, to: *mut i32, x: I) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<I>().write_unaligned(x) }
    }
    #[inline(always)]
    unsafe fn load_half_ptr(self, from: *const u16) -> F {
        // SAFETY: the caller's promise.
        let halves = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        lanes!(|halves| half_to_float(halves))
    }
    #[inline(always)]
    fn load_part(self, from: &[f32]) -> F {
        let mut out = [0.0; LANES];
        let n = from.len().min(LANES);
        out[..n].copy_from_slice(&from[..n]);
        out
    }
    #[inline(always)]
    fn store_part(self, to: &mut [f32], x: F) {
        let n = to.len().min(LANES);
        to[..n].copy_from_slice(&x[..n]);
    }
    #[inline(always)]
    fn splat(self, x: f32) -> F {
        [x; LANES]
    }
    #[inline(always)]
    fn add(self, a: F, b: F) -> F {
        lanes!(|a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: F, b: F) -> F {
        lanes!(|a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: F, b: F) -> F {
        lanes!(|a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: F, b: F) -> F {
        lanes!(|a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: F, b: F, c: F) -> F {
        lanes!(|a, b, c| multiply_add(a, b, c))
    }
    #[inline(always)]
    fn fnma(self, a: F, b: F, c: F) -> F {
        lanes!(|a, b, c| multiply_add(-a, b, c))
    }
    #[inline(always)]
    fn max(self, a: F, b: F) -> F {
        lanes!(|a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: F, b: F) -> F {
        lanes!(|a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn sqrt(self, x: F) -> F {
        lanes!(|x| x.sqrt())
    }
    #[inline(always)]
    fn abs(self, x: F) -> F {
        lanes!(|x| x.abs())
    }
    #[inline(always)]
    fn round(self, x: F) -> F {
        // 1.5 * 2^23: adding it leaves no bits for a fraction. SSE2 has no rounding instruction.
        const MAGIC: f32 = 12_582_912.0;
        lanes!(|x| ((x + MAGIC) - MAGIC).copysign(x))
    }
    #[inline(always)]
    fn scale2(self, x: F, n: F) -> F {
        // Two powers of half the size: each is a normal number, and the first product is exact.
        let n = self.to_int(n);
        let half = self.sra(n, 1);
        let rest = self.sub_int(n, half);
        let bias = self.splat_int(127);
        let first = self.float_from_bits(self.shl(self.add_int(half, bias), 23));
        let second = self.float_from_bits(self.shl(self.add_int(rest, bias), 23));
        self.mul(self.mul(x, first), second)
    }
    #[inline(always)]
    fn gt(self, a: F, b: F) -> M {
        lanes!(|a, b| -i32::from(a > b))
    }
    #[inline(always)]
    fn ge(self, a: F, b: F) -> M {
        lanes!(|a, b| -i32::from(a >= b))
    }
    #[inline(always)]
    fn eq(self, a: F, b: F) -> M {
        lanes!(|a, b| -i32::from(a == b))
    }
    #[inline(always)]
    #[allow(clippy::neg_cmp_op_on_partial_ord)]
    fn not_lt(self, a: F, b: F) -> M {
        lanes!(|a, b| -i32::from(!(a < b)))
    }
    #[inline(always)]
    fn select(self, mask: M, a: F, b: F) -> F {
        lanes!(|mask, a, b| if mask != 0 { a } else { b })
    }
    #[inline(always)]
    fn and_mask(self, a: M, b: M) -> M {
        lanes!(|a, b| a & b)
    }
    #[inline(always)]
    fn or_mask(self, a: M, b: M) -> M {
        lanes!(|a, b| a | b)
    }
    #[inline(always)]
    fn mask_bits(self, mask: M) -> u16 {
        let mut bits = 0;
        for i in 0..LANES {
            bits |= (mask[i] & (1 << i)) as u16;
        }
        bits
    }
    #[inline(always)]
    fn mask_from_bits(self, bits: u16) -> M {
        let mut out = [0; LANES];
        for i in 0..LANES {
            out[i] = -i32::from(bits >> i & 1);
        }
        out
    }
    #[inline(always)]
    fn splat_int(self, x: i32) -> I {
        [x; LANES]
    }
    #[inline(always)]
    fn bits(self, x: F) -> I {
        lanes!(|x| x.to_bits() as i32)
    }
    #[inline(always)]
    fn float_from_bits(self, x: I) -> F {
        lanes!(|x| f32::from_bits(x as u32))
    }
    #[inline(always)]
    fn to_int(self, x: F) -> I {
        lanes!(|x| x as i32)
    }
    #[inline(always)]
    fn to_float(self, x: I) -> F {
        lanes!(|x| x as f32)
    }
    #[inline(always)]
    fn add_int(self, a: I, b: I) -> I {
        lanes!(|a, b| a.wrapping_add(b))
    }
    #[inline(always)]
    fn sub_int(self, a: I, b: I) -> I {
        lanes!(|a, b| a.wrapping_sub(b))
    }
    #[inline(always)]
    fn and_int(self, a: I, b: I) -> I {
        lanes!(|a, b| a & b)
    }
    #[inline(always)]
    fn or_int(self, a: I, b: I) -> I {
        lanes!(|a, b| a | b)
    }
    #[inline(always)]
    fn xor_int(self, a: I, b: I) -> I {
        lanes!(|a, b| a ^ b)
    }
    #[inline(always)]
    fn shl(self, a: I, n: u32) -> I {
        lanes!(|a| a.wrapping_shl(n))
    }
    #[inline(always)]
    fn shr(self, a: I, n: u32) -> I {
        lanes!(|a| (a as u32).wrapping_shr(n) as i32)
    }
    #[inline(always)]
    fn sra(self, a: I, n: u32) -> I {
        lanes!(|a| a.wrapping_shr(n))
    }
    #[inline(always)]
    fn count(self, counter: I, mask: M) -> I {
        lanes!(|counter, mask| counter.wrapping_sub(mask))
    }
    #[inline(always)]
    fn sign_bits(self, x: I) -> u16 {
        self.mask_bits(lanes!(|x| x >> 31))
    }
    #[inline(always)]
    fn dot4(self, sum: I, a: I, b: I) -> I {
        lanes!(|sum, a, b| {
            let mut sum = sum;
            for byte in 0..4 {
                let (a, b) = (a >> (8 * byte) & 0xff, b << (24 - 8 * byte) >> 24);
                sum = sum.wrapping_add(a * b);
            }
            sum
        })
    }
    #[inline(always)]
    fn shr_halves(self, a: I, n: u32) -> I {
        lanes!(|a| {
            let (high, low) = (a as u32 >> 16, a as u32 & 0xffff);
            (high >> n << 16 | low >> n) as i32
        })
    }
    #[inline(always)]
    fn lookup_bytes(self, table: &[u8; 16], index: I) -> I {
        lanes!(|index| {
            let bytes = index.to_le_bytes().map(|at| table[usize::from(at & 15)]);
            i32::from_le_bytes(bytes)
        })
    }
    #[inline(always)]
    fn hsum(self, x: F) -> f32 {
        tree!(x, |a, b| a + b)
    }
    #[inline(always)]
    fn hmax(self, x: F) -> f32 {
        tree!(x, |a, b| if a > b { a } else { b })
    }
}
