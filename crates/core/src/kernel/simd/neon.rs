//! NEON: four registers of 4.

use std::arch::aarch64::*;

use super::{Isa, LANES, Simd};

/// Proof of NEON, which every aarch64 target has.
#[derive(Clone, Copy)]
pub struct Neon(());

impl Neon {
    /// # Safety
    /// The processor has NEON.
    #[inline(always)]
    pub unsafe fn new() -> Self {
        Neon(())
    }
}

type F = [float32x4_t; 4];
type I = [int32x4_t; 4];
type M = [uint32x4_t; 4];

/// Applies an expression to each of the four registers.
macro_rules! quarters {
    (|$($x:ident),+| $body:expr) => {
        // SAFETY: `self` proves the features.
        unsafe {
            [
                { $(let $x = $x[0];)+ $body },
                { $(let $x = $x[1];)+ $body },
                { $(let $x = $x[2];)+ $body },
                { $(let $x = $x[3];)+ $body },
            ]
        }
    };
}

const LANE_BITS: [u32; 4] = [1, 2, 4, 8];

// SAFETY of every block below: `self` proves the features; pointers are the caller's promise.
impl Simd for Neon {
    type F = F;
    type I = I;
    type M = M;
    const ISA: Isa = Isa::Neon;
    const FUSED: bool = true;

    #[inline(always)]
    unsafe fn load_ptr(self, from: *const f32) -> F {
        unsafe {
            [
                vld1q_f32(from),
                vld1q_f32(from.add(4)),
                vld1q_f32(from.add(8)),
                vld1q_f32(from.add(12)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, to: *mut f32, x: F) {
        unsafe {
            vst1q_f32(to, x[0]);
            vst1q_f32(to.add(4), x[1]);
            vst1q_f32(to.add(8), x[2]);
            vst1q_f32(to.add(12), x[3]);
        }
    }
    #[inline(always)]
    unsafe fn load_int_ptr(self, from: *const i32) -> I {
        unsafe {
            [
                vld1q_s32(from),
                vld1q_s32(from.add(4)),
                vld1q_s32(from.add(8)),
                vld1q_s32(from.add(12)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn store_int_ptr(self, to: *mut i32, x: I) {
        unsafe {
            vst1q_s32(to, x[0]);
            vst1q_s32(to.add(4), x[1]);
            vst1q_s32(to.add(8), x[2]);
            vst1q_s32(to.add(12), x[3]);
        }
    }
    #[inline(always)]
    unsafe fn load_half_ptr(self, from: *const u16) -> F {
        // As `half_to_float` has it, four at a time: the conversion that NEON has is not stable in Rust.
        unsafe {
            let scale = vreinterpretq_f32_u32(vdupq_n_u32((254 - 15) << 23));
            let quarter = |half: uint32x4_t| {
                let magnitude = vshlq_n_u32::<13>(vandq_u32(half, vdupq_n_u32(0x7fff)));
                let magnitude = vmulq_f32(vreinterpretq_f32_u32(magnitude), scale);
                let sign = vshlq_n_u32::<16>(vandq_u32(half, vdupq_n_u32(0x8000)));
                vreinterpretq_f32_u32(vorrq_u32(vreinterpretq_u32_f32(magnitude), sign))
            };
            let (low, high) = (vld1q_u16(from), vld1q_u16(from.add(8)));
            [
                quarter(vmovl_u16(vget_low_u16(low))),
                quarter(vmovl_u16(vget_high_u16(low))),
                quarter(vmovl_u16(vget_low_u16(high))),
                quarter(vmovl_u16(vget_high_u16(high))),
            ]
        }
    }
    #[inline(always)]
    fn load_part(self, from: &[f32]) -> F {
        let mut all = [0.0; LANES];
        let n = from.len().min(LANES);
        all[..n].copy_from_slice(&from[..n]);
        self.load(&all)
    }
    #[inline(always)]
    fn store_part(self, to: &mut [f32], x: F) {
        let n = to.len().min(LANES);
        to[..n].copy_from_slice(&self.to_array(x)[..n]);
    }
    #[inline(always)]
    fn splat(self, x: f32) -> F {
        unsafe { [vdupq_n_f32(x); 4] }
    }
    #[inline(always)]
    fn add(self, a: F, b: F) -> F {
        quarters!(|a, b| vaddq_f32(a, b))
    }
    #[inline(always)]
    fn sub(self, a: F, b: F) -> F {
        quarters!(|a, b| vsubq_f32(a, b))
    }
    #[inline(always)]
    fn mul(self, a: F, b: F) -> F {
        quarters!(|a, b| vmulq_f32(a, b))
    }
    #[inline(always)]
    fn div(self, a: F, b: F) -> F {
        quarters!(|a, b| vdivq_f32(a, b))
    }
    #[inline(always)]
    fn fma(self, a: F, b: F, c: F) -> F {
        quarters!(|a, b, c| vfmaq_f32(c, a, b))
    }
    #[inline(always)]
    fn fnma(self, a: F, b: F, c: F) -> F {
        quarters!(|a, b, c| vfmsq_f32(c, a, b))
    }
    // `vmaxq_f32` would answer NaN where either is; x86 answers the second, and so does this.
    #[inline(always)]
    fn max(self, a: F, b: F) -> F {
        quarters!(|a, b| vbslq_f32(vcgtq_f32(a, b), a, b))
    }
    #[inline(always)]
    fn min(self, a: F, b: F) -> F {
        quarters!(|a, b| vbslq_f32(vcltq_f32(a, b), a, b))
    }
    #[inline(always)]
    fn sqrt(self, x: F) -> F {
        quarters!(|x| vsqrtq_f32(x))
    }
    #[inline(always)]
    fn abs(self, x: F) -> F {
        quarters!(|x| vabsq_f32(x))
    }
    #[inline(always)]
    fn round(self, x: F) -> F {
        quarters!(|x| vrndnq_f32(x))
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
        quarters!(|a, b| vcgtq_f32(a, b))
    }
    #[inline(always)]
    fn ge(self, a: F, b: F) -> M {
        quarters!(|a, b| vcgeq_f32(a, b))
    }
    #[inline(always)]
    fn eq(self, a: F, b: F) -> M {
        quarters!(|a, b| vceqq_f32(a, b))
    }
    #[inline(always)]
    fn not_lt(self, a: F, b: F) -> M {
        quarters!(|a, b| vmvnq_u32(vcltq_f32(a, b)))
    }
    #[inline(always)]
    fn select(self, mask: M, a: F, b: F) -> F {
        quarters!(|mask, a, b| vbslq_f32(mask, a, b))
    }
    #[inline(always)]
    fn and_mask(self, a: M, b: M) -> M {
        quarters!(|a, b| vandq_u32(a, b))
    }
    #[inline(always)]
    fn or_mask(self, a: M, b: M) -> M {
        quarters!(|a, b| vorrq_u32(a, b))
    }
    #[inline(always)]
    fn mask_bits(self, mask: M) -> u16 {
        unsafe {
            let lanes = vld1q_u32(LANE_BITS.as_ptr());
            let quarter = |m: uint32x4_t| vaddvq_u32(vandq_u32(m, lanes)) as u16;
            quarter(mask[0])
                | quarter(mask[1]) << 4
                | quarter(mask[2]) << 8
                | quarter(mask[3]) << 12
        }
    }
    #[inline(always)]
    fn mask_from_bits(self, bits: u16) -> M {
        unsafe {
            let lanes = vld1q_u32(LANE_BITS.as_ptr());
            let bits = u32::from(bits);
            [
                vtstq_u32(vdupq_n_u32(bits), lanes),
                vtstq_u32(vdupq_n_u32(bits >> 4), lanes),
                vtstq_u32(vdupq_n_u32(bits >> 8), lanes),
                vtstq_u32(vdupq_n_u32(bits >> 12), lanes),
            ]
        }
    }
    #[inline(always)]
    fn splat_int(self, x: i32) -> I {
        unsafe { [vdupq_n_s32(x); 4] }
    }
    #[inline(always)]
    fn bits(self, x: F) -> I {
        quarters!(|x| vreinterpretq_s32_f32(x))
    }
    #[inline(always)]
    fn float_from_bits(self, x: I) -> F {
        quarters!(|x| vreinterpretq_f32_s32(x))
    }
    #[inline(always)]
    fn to_int(self, x: F) -> I {
        quarters!(|x| vcvtnq_s32_f32(x))
    }
    #[inline(always)]
    fn to_float(self, x: I) -> F {
        quarters!(|x| vcvtq_f32_s32(x))
    }
    #[inline(always)]
    fn add_int(self, a: I, b: I) -> I {
        quarters!(|a, b| vaddq_s32(a, b))
    }
    #[inline(always)]
    fn sub_int(self, a: I, b: I) -> I {
        quarters!(|a, b| vsubq_s32(a, b))
    }
    #[inline(always)]
    fn and_int(self, a: I, b: I) -> I {
        quarters!(|a, b| vandq_s32(a, b))
    }
    #[inline(always)]
    fn or_int(self, a: I, b: I) -> I {
        quarters!(|a, b| vorrq_s32(a, b))
    }
    #[inline(always)]
    fn xor_int(self, a: I, b: I) -> I {
        quarters!(|a, b| veorq_s32(a, b))
    }
    #[inline(always)]
    fn shl(self, a: I, n: u32) -> I {
        quarters!(|a| vshlq_s32(a, vdupq_n_s32(n as i32)))
    }
    #[inline(always)]
    fn shr(self, a: I, n: u32) -> I {
        // A shift by a negative count goes right.
        quarters!(|a| vreinterpretq_s32_u32(vshlq_u32(
            vreinterpretq_u32_s32(a),
            vdupq_n_s32(-(n as i32))
        )))
    }
    #[inline(always)]
    fn sra(self, a: I, n: u32) -> I {
        quarters!(|a| vshlq_s32(a, vdupq_n_s32(-(n as i32))))
    }
    #[inline(always)]
    fn count(self, counter: I, mask: M) -> I {
        // A set lane is -1.
        quarters!(|counter, mask| vsubq_s32(counter, vreinterpretq_s32_u32(mask)))
    }
    #[inline(always)]
    fn sign_bits(self, x: I) -> u16 {
        self.mask_bits(quarters!(|x| vcltzq_s32(x)))
    }
    #[inline(always)]
    fn dot4(self, sum: I, a: I, b: I) -> I {
        quarters!(|sum, a, b| {
            let (a, b) = (vreinterpretq_u8_s32(a), vreinterpretq_s8_s32(b));
            let a_low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(a)));
            let a_high = vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(a)));
            let (b_low, b_high) = (vmovl_s8(vget_low_s8(b)), vmovl_s8(vget_high_s8(b)));
            // Four products of each lane, then their sums in pairs, twice.
            let first = vmull_s16(vget_low_s16(a_low), vget_low_s16(b_low));
            let second = vmull_s16(vget_high_s16(a_low), vget_high_s16(b_low));
            let third = vmull_s16(vget_low_s16(a_high), vget_low_s16(b_high));
            let fourth = vmull_s16(vget_high_s16(a_high), vget_high_s16(b_high));
            let sums = vpaddq_s32(vpaddq_s32(first, second), vpaddq_s32(third, fourth));
            vaddq_s32(sum, sums)
        })
    }
    #[inline(always)]
    fn shr_halves(self, a: I, n: u32) -> I {
        // SAFETY: `self` proves the features.
        let n = unsafe { vdupq_n_s16(-(n as i16)) };
        quarters!(|a| vreinterpretq_s32_u16(vshlq_u16(vreinterpretq_u16_s32(a), n)))
    }
    #[inline(always)]
    fn lookup_bytes(self, table: &[u8; 16], index: I) -> I {
        // SAFETY: 16 bytes.
        let table = unsafe { vld1q_u8(table.as_ptr()) };
        quarters!(|index| { vreinterpretq_s32_u8(vqtbl1q_u8(table, vreinterpretq_u8_s32(index))) })
    }
    #[inline(always)]
    fn hsum(self, x: F) -> f32 {
        unsafe {
            let x = vaddq_f32(vaddq_f32(x[0], x[2]), vaddq_f32(x[1], x[3]));
            let x = vadd_f32(vget_low_f32(x), vget_high_f32(x));
            vget_lane_f32::<0>(x) + vget_lane_f32::<1>(x)
        }
    }
    #[inline(always)]
    fn hmax(self, x: F) -> f32 {
        let step = |a: f32, b: f32| if a > b { a } else { b };
        let x = self.to_array(x);
        let eight: [f32; 8] = std::array::from_fn(|i| step(x[i], x[i + 8]));
        let four: [f32; 4] = std::array::from_fn(|i| step(eight[i], eight[i + 4]));
        step(step(four[0], four[2]), step(four[1], four[3]))
    }
}
