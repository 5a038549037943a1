//! AVX2 with FMA: two registers of 8.

use std::arch::x86_64::*;

use super::{Isa, LANES, Simd};

/// Proof of AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub struct Avx2(());

impl Avx2 {
    /// # Safety
    /// The processor has AVX2, FMA and F16C.
    #[inline(always)]
    pub unsafe fn new() -> Self {
        Avx2(())
    }
}

pub(super) const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

/// # Safety
/// The processor has AVX.
#[inline(always)]
pub(super) unsafe fn hsum8(x: __m256) -> f32 {
    unsafe {
        let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
    }
}

/// # Safety
/// The processor has AVX.
#[inline(always)]
pub(super) unsafe fn hmax8(x: __m256) -> f32 {
    unsafe {
        let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
    }
}

/// 16 set lanes, then 16 unset ones: the mask of the first n lanes starts at 16 - n.
static PART: [i32; 32] = {
    let mut table = [0; 32];
    let mut i = 0;
    while i < 16 {
        table[i] = -1;
        i += 1;
    }
    table
};

/// The masks of the first `n` of 16 lanes, in halves.
/// # Safety
/// The processor has AVX.
#[inline(always)]
unsafe fn part_mask(n: usize) -> (__m256i, __m256i) {
    let start = LANES - n.min(LANES);
    unsafe {
        let from = PART.as_ptr().add(start);
        (_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(8).cast()))
    }
}

/// Applies an intrinsic of one or two arguments to both halves.
macro_rules! halves {
    ($f:ident, $a:expr) => {
        unsafe { ($f($a.0), $f($a.1)) }
    };
    ($f:ident, $a:expr, $b:expr) => {
        unsafe { ($f($a.0, $b.0), $f($a.1, $b.1)) }
    };
    ($f:ident, $a:expr, $b:expr, $c:expr) => {
        unsafe { ($f($a.0, $b.0, $c.0), $f($a.1, $b.1, $c.1)) }
    };
}

type F2 = (__m256, __m256);
type I2 = (__m256i, __m256i);

// SAFETY of every block below: `self` proves the features; pointers are the caller's promise.
impl Simd for Avx2 {
    type F = F2;
    type I = I2;
    type M = F2;
    const ISA: Isa = Isa::Avx2;
    const FUSED: bool = true;

    #[inline(always)]
    unsafe fn load_ptr(self, from: *const f32) -> F2 {
        unsafe { (_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, to: *mut f32, x: F2) {
        unsafe {
            _mm256_storeu_ps(to, x.0);
            _mm256_storeu_ps(to.add(8), x.1);
        }
    }
    #[inline(always)]
    unsafe fn load_int_ptr(self, from: *const i32) -> I2 {
        unsafe { (_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(8).cast())) }
    }
    #[inline(always)]
    unsafe fn store_int_ptr(self, to: *mut i32, x: I2) {
        unsafe {
            _mm256_storeu_si256(to.cast(), x.0);
            _mm256_storeu_si256(to.add(8).cast(), x.1);
        }
    }
    #[inline(always)]
    unsafe fn load_half_ptr(self, from: *const u16) -> F2 {
        unsafe {
            let (low, high) = (_mm_loadu_si128(from.cast()), _mm_loadu_si128(from.add(8).cast()));
            (_mm256_cvtph_ps(low), _mm256_cvtph_ps(high))
        }
    }
    #[inline(always)]
    fn load_part(self, from: &[f32]) -> F2 {
        unsafe {
            let mask = part_mask(from.len());
            let high = from.as_ptr().wrapping_add(8);
            (_mm256_maskload_ps(from.as_ptr(), mask.0), _mm256_maskload_ps(high, mask.1))
        }
    }
    #[inline(always)]
    fn store_part(self, to: &mut [f32], x: F2) {
        unsafe {
            let mask = part_mask(to.len());
            _mm256_maskstore_ps(to.as_mut_ptr(), mask.0, x.0);
            _mm256_maskstore_ps(to.as_mut_ptr().wrapping_add(8), mask.1, x.1);
        }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> F2 {
        let x = unsafe { _mm256_set1_ps(x) };
        (x, x)
    }
    #[inline(always)]
    fn add(self, a: F2, b: F2) -> F2 {
        halves!(_mm256_add_ps, a, b)
    }
    #[inline(always)]
    fn sub(self, a: F2, b: F2) -> F2 {
        halves!(_mm256_sub_ps, a, b)
    }
    #[inline(always)]
    fn mul(self, a: F2, b: F2) -> F2 {
        halves!(_mm256_mul_ps, a, b)
    }
    #[inline(always)]
    fn div(self, a: F2, b: F2) -> F2 {
        halves!(_mm256_div_ps, a, b)
    }
    #[inline(always)]
    fn fma(self, a: F2, b: F2, c: F2) -> F2 {
        halves!(_mm256_fmadd_ps, a, b, c)
    }
    #[inline(always)]
    fn fnma(self, a: F2, b: F2, c: F2) -> F2 {
        halves!(_mm256_fnmadd_ps, a, b, c)
    }
    #[inline(always)]
    fn max(self, a: F2, b: F2) -> F2 {
        halves!(_mm256_max_ps, a, b)
    }
    #[inline(always)]
    fn min(self, a: F2, b: F2) -> F2 {
        halves!(_mm256_min_ps, a, b)
    }
    #[inline(always)]
    fn sqrt(self, x: F2) -> F2 {
        halves!(_mm256_sqrt_ps, x)
    }
    #[inline(always)]
    fn abs(self, x: F2) -> F2 {
        self.float_from_bits(self.and_int(self.bits(x), self.splat_int(i32::MAX)))
    }
    #[inline(always)]
    fn round(self, x: F2) -> F2 {
        unsafe { (_mm256_round_ps::<NEAREST>(x.0), _mm256_round_ps::<NEAREST>(x.1)) }
    }
    #[inline(always)]
    fn scale2(self, x: F2, n: F2) -> F2 {
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
    fn gt(self, a: F2, b: F2) -> F2 {
        unsafe { (_mm256_cmp_ps::<_CMP_GT_OQ>(a.0, b.0), _mm256_cmp_ps::<_CMP_GT_OQ>(a.1, b.1)) }
    }
    #[inline(always)]
    fn ge(self, a: F2, b: F2) -> F2 {
        unsafe { (_mm256_cmp_ps::<_CMP_GE_OQ>(a.0, b.0), _mm256_cmp_ps::<_CMP_GE_OQ>(a.1, b.1)) }
    }
    #[inline(always)]
    fn eq(self, a: F2, b: F2) -> F2 {
        unsafe { (_mm256_cmp_ps::<_CMP_EQ_OQ>(a.0, b.0), _mm256_cmp_ps::<_CMP_EQ_OQ>(a.1, b.1)) }
    }
    #[inline(always)]
    fn not_lt(self, a: F2, b: F2) -> F2 {
        unsafe { (_mm256_cmp_ps::<_CMP_NLT_UQ>(a.0, b.0), _mm256_cmp_ps::<_CMP_NLT_UQ>(a.1, b.1)) }
    }
    #[inline(always)]
    fn select(self, mask: F2, a: F2, b: F2) -> F2 {
        halves!(_mm256_blendv_ps, b, a, mask)
    }
    #[inline(always)]
    fn and_mask(self, a: F2, b: F2) -> F2 {
        halves!(_mm256_and_ps, a, b)
    }
    #[inline(always)]
    fn or_mask(self, a: F2, b: F2) -> F2 {
        halves!(_mm256_or_ps, a, b)
    }
    #[inline(always)]
    fn mask_bits(self, mask: F2) -> u16 {
        let (low, high) = halves!(_mm256_movemask_ps, mask);
        (low | high << 8) as u16
    }
    #[inline(always)]
    fn mask_from_bits(self, bits: u16) -> F2 {
        unsafe {
            let low = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let lanes = (low, _mm256_slli_epi32::<8>(low));
            let set = self.and_int(self.splat_int(i32::from(bits)), lanes);
            let equal = (_mm256_cmpeq_epi32(set.0, lanes.0), _mm256_cmpeq_epi32(set.1, lanes.1));
            self.float_from_bits(equal)
        }
    }
    #[inline(always)]
    unsafe fn keep_by_bits(self, bits: *const u16, x: F2) -> F2 {
        unsafe {
            // The bit of each lane goes where a blend looks, into the sign; what else was read stands above
            // the 16 bits.
            let bits = _mm256_set1_epi32(bits.cast::<i32>().read_unaligned());
            let low = _mm256_sllv_epi32(bits, _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24));
            let high = _mm256_sllv_epi32(bits, _mm256_setr_epi32(23, 22, 21, 20, 19, 18, 17, 16));
            self.select(self.float_from_bits((low, high)), x, self.zero())
        }
    }
    #[inline(always)]
    fn splat_int(self, x: i32) -> I2 {
        let x = unsafe { _mm256_set1_epi32(x) };
        (x, x)
    }
    #[inline(always)]
    fn bits(self, x: F2) -> I2 {
        halves!(_mm256_castps_si256, x)
    }
    #[inline(always)]
    fn float_from_bits(self, x: I2) -> F2 {
        halves!(_mm256_castsi256_ps, x)
    }
    #[inline(always)]
    fn to_int(self, x: F2) -> I2 {
        halves!(_mm256_cvtps_epi32, x)
    }
    #[inline(always)]
    fn to_float(self, x: I2) -> F2 {
        halves!(_mm256_cvtepi32_ps, x)
    }
    #[inline(always)]
    fn add_int(self, a: I2, b: I2) -> I2 {
        halves!(_mm256_add_epi32, a, b)
    }
    #[inline(always)]
    fn sub_int(self, a: I2, b: I2) -> I2 {
        halves!(_mm256_sub_epi32, a, b)
    }
    #[inline(always)]
    fn and_int(self, a: I2, b: I2) -> I2 {
        halves!(_mm256_and_si256, a, b)
    }
    #[inline(always)]
    fn or_int(self, a: I2, b: I2) -> I2 {
        halves!(_mm256_or_si256, a, b)
    }
    #[inline(always)]
    fn xor_int(self, a: I2, b: I2) -> I2 {
        halves!(_mm256_xor_si256, a, b)
    }
    #[inline(always)]
    fn shl(self, a: I2, n: u32) -> I2 {
        halves!(_mm256_sllv_epi32, a, self.splat_int(n as i32))
    }
    #[inline(always)]
    fn shr(self, a: I2, n: u32) -> I2 {
        halves!(_mm256_srlv_epi32, a, self.splat_int(n as i32))
    }
    #[inline(always)]
    fn sra(self, a: I2, n: u32) -> I2 {
        halves!(_mm256_srav_epi32, a, self.splat_int(n as i32))
    }
    #[inline(always)]
    fn count(self, counter: I2, mask: F2) -> I2 {
        // A set lane is -1.
        self.sub_int(counter, self.bits(mask))
    }
    #[inline(always)]
    fn sign_bits(self, x: I2) -> u16 {
        self.mask_bits(self.float_from_bits(x))
    }
    #[inline(always)]
    fn dot4(self, sum: I2, a: I2, b: I2) -> I2 {
        unsafe {
            let ones = _mm256_set1_epi16(1);
            let low = _mm256_madd_epi16(_mm256_maddubs_epi16(a.0, b.0), ones);
            let high = _mm256_madd_epi16(_mm256_maddubs_epi16(a.1, b.1), ones);
            (_mm256_add_epi32(sum.0, low), _mm256_add_epi32(sum.1, high))
        }
    }
    #[inline(always)]
    fn shr_halves(self, a: I2, n: u32) -> I2 {
        unsafe {
            let n = _mm_cvtsi32_si128(n as i32);
            (_mm256_srl_epi16(a.0, n), _mm256_srl_epi16(a.1, n))
        }
    }
    #[inline(always)]
    fn lookup_bytes(self, table: &[u8; 16], index: I2) -> I2 {
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            (_mm256_shuffle_epi8(table, index.0), _mm256_shuffle_epi8(table, index.1))
        }
    }
    #[inline(always)]
    fn hsum(self, x: F2) -> f32 {
        unsafe { hsum8(_mm256_add_ps(x.0, x.1)) }
    }
    #[inline(always)]
    fn hmax(self, x: F2) -> f32 {
        unsafe { hmax8(_mm256_max_ps(x.0, x.1)) }
    }
}
