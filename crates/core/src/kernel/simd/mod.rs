//! Sixteen `f32` lanes on every machine.
//!
//! A kernel is written once, as `#[inline(always)] fn kernel<S: Simd>(s: S, ..)`, against sixteen virtual
//! lanes: one AVX-512 register, two AVX2 registers, four NEON registers or an array. `dispatch!` wraps it for
//! every instruction set and picks one at run time, so that one binary runs anywhere and is fast where it can
//! be. Because lanes are the same everywhere and sums over lanes follow one fixed tree, a kernel gives **the
//! same bits on every instruction set that has FMA** (AVX-512, AVX2, NEON). The portable path multiplies and
//! adds with two roundings unless the target has FMA at compile time ([`Simd::FUSED`]), and is the one
//! exception.
//!
//! Rules for kernels, each of which costs a factor of ten or more when broken:
//! - everything between the `dispatch!` and the intrinsics is `#[inline(always)]`, helpers too;
//! - no closures that hold vectors (a closure is a function of its own, without the target's features);
//! - dispatch once per phase over many rows, never once per row.

mod portable;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;

use std::sync::atomic::{AtomicU8, Ordering};

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
pub use portable::Portable;
pub(super) use portable::half_to_float;

/// Number of `f32` lanes in a vector, on every instruction set.
pub const LANES: usize = 16;

/// Sixteen lanes of `f32` (`F`), of `i32` (`I`) and of truth (`M`).
///
/// A value of an implementing type is the proof that the processor has the instructions; only `dispatch!` makes one.
pub trait Simd: Copy + Send + Sync + 'static {
    /// Sixteen `f32`.
    type F: Copy;
    /// Sixteen `i32` (or `u32`: the operations wrap).
    type I: Copy;
    /// Sixteen truth values.
    type M: Copy;

    /// Which instruction set this is.
    const ISA: Isa;
    /// Whether [`fma`](Simd::fma) rounds once. Equal bits are promised among the sets where it does.
    const FUSED: bool;

    /// Loads 16 values, at any alignment.
    /// # Safety
    /// `from` is valid for reading 16 `f32`.
    unsafe fn load_ptr(self, from: *const f32) -> Self::F;
    /// Stores 16 values, at any alignment.
    /// # Safety
    /// `to` is valid for writing 16 `f32`.
    unsafe fn store_ptr(self, to: *mut f32, x: Self::F);
    /// Loads 16 integers, at any alignment.
    /// # Safety
    /// `from` is valid for reading 16 `i32`.
    unsafe fn load_int_ptr(self, from: *const i32) -> Self::I;
    /// Stores 16 integers, at any alignment.
    /// # Safety
    /// `to` is valid for writing 16 `i32`.
    unsafe fn store_int_ptr(self, to: *mut i32, x: Self::I);
    /// Loads 16 half-precision numbers (IEEE binary16), at any alignment, as the same `f32`. For finite ones.
    /// # Safety
    /// `from` is valid for reading 16 `u16`.
    unsafe fn load_half_ptr(self, from: *const u16) -> Self::F;
    /// Loads the first `from.len().min(16)` values; the other lanes are 0.
    fn load_part(self, from: &[f32]) -> Self::F;
    /// Stores the first `to.len().min(16)` lanes.
    fn store_part(self, to: &mut [f32], x: Self::F);

    /// The same value in every lane.
    fn splat(self, x: f32) -> Self::F;
    /// `a + b`
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`, correctly rounded.
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once where [`FUSED`](Simd::FUSED).
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `c - a * b`, rounded once where [`FUSED`](Simd::FUSED).
    fn fnma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `if a > b { a } else { b }`: where either is NaN, `b`.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `if a < b { a } else { b }`: where either is NaN, `b`.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// The square root, correctly rounded.
    fn sqrt(self, x: Self::F) -> Self::F;
    /// `|x|`
    fn abs(self, x: Self::F) -> Self::F;
    /// To the nearest integer, halves to even. For |x| < 2^22.
    fn round(self, x: Self::F) -> Self::F;
    /// `x * 2^n` for an integral `n` in -250..=250 and a moderate `x` (|x| within 2^-60..2^60), rounded once,
    /// into the subnormals too. A NaN in `x` stays.
    fn scale2(self, x: Self::F, n: Self::F) -> Self::F;

    /// `a > b`; false where either is NaN, as are all comparisons but [`not_lt`](Simd::not_lt).
    fn gt(self, a: Self::F, b: Self::F) -> Self::M;
    /// `a >= b`
    fn ge(self, a: Self::F, b: Self::F) -> Self::M;
    /// `a == b`
    fn eq(self, a: Self::F, b: Self::F) -> Self::M;
    /// `!(a < b)`: true where either is NaN.
    fn not_lt(self, a: Self::F, b: Self::F) -> Self::M;
    /// `a` where the mask is set, else `b`.
    fn select(self, mask: Self::M, a: Self::F, b: Self::F) -> Self::F;
    /// Both set.
    fn and_mask(self, a: Self::M, b: Self::M) -> Self::M;
    /// Either set.
    fn or_mask(self, a: Self::M, b: Self::M) -> Self::M;
    /// Lane `i` of the mask in bit `i`.
    fn mask_bits(self, mask: Self::M) -> u16;
    /// Bit `i` in lane `i` of a mask.
    fn mask_from_bits(self, bits: u16) -> Self::M;
    /// `x` in the lanes whose bit is set in the 16 bits at `bits`, 0 in the others.
    /// # Safety
    /// Four bytes can be read there.
    #[inline(always)]
    unsafe fn keep_by_bits(self, bits: *const u16, x: Self::F) -> Self::F {
        // SAFETY: the caller's promise.
        self.select(self.mask_from_bits(unsafe { *bits }), x, self.zero())
    }

    /// The same integer in every lane.
    fn splat_int(self, x: i32) -> Self::I;
    /// The bits of 16 `f32`.
    fn bits(self, x: Self::F) -> Self::I;
    /// The `f32` with these bits.
    fn float_from_bits(self, x: Self::I) -> Self::F;
    /// Integral `f32` within the range of `i32` to integers.
    fn to_int(self, x: Self::F) -> Self::I;
    /// To the nearest `f32`.
    fn to_float(self, x: Self::I) -> Self::F;
    /// `a + b`, wrapping.
    fn add_int(self, a: Self::I, b: Self::I) -> Self::I;
    /// `a - b`, wrapping.
    fn sub_int(self, a: Self::I, b: Self::I) -> Self::I;
    /// Bitwise and.
    fn and_int(self, a: Self::I, b: Self::I) -> Self::I;
    /// Bitwise or.
    fn or_int(self, a: Self::I, b: Self::I) -> Self::I;
    /// Bitwise exclusive or.
    fn xor_int(self, a: Self::I, b: Self::I) -> Self::I;
    /// `a << n`, `n` < 32.
    fn shl(self, a: Self::I, n: u32) -> Self::I;
    /// `a >> n` as unsigned, `n` < 32.
    fn shr(self, a: Self::I, n: u32) -> Self::I;
    /// `a >> n` as signed, `n` < 32.
    fn sra(self, a: Self::I, n: u32) -> Self::I;
    /// `counter + 1` where the mask is set, else `counter`.
    fn count(self, counter: Self::I, mask: Self::M) -> Self::I;
    /// Whether lane `i` is negative, in bit `i`.
    fn sign_bits(self, x: Self::I) -> u16;
    /// `sum + a0 b0 + a1 b1 + a2 b2 + a3 b3` in every lane, where the four bytes of a lane of `a` are
    /// unsigned and those of `b` are signed and within -64..=64: 2 * 255 * 64 fits into 16 bits, so what x86
    /// had before VNNI is exact too. Wraps as [`add_int`](Simd::add_int).
    fn dot4(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I;
    /// [`dot4`](Simd::dot4) in the one instruction that newer processors have for it.
    /// # Safety
    /// The processor has AVX512-VNNI, where this is [`Isa::Avx512`].
    #[inline(always)]
    unsafe fn dot4_vnni(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I {
        self.dot4(sum, a, b)
    }

    /// Each 16-bit half of a lane `>> n` as unsigned, `n` < 16.
    fn shr_halves(self, a: Self::I, n: u32) -> Self::I;
    /// Every byte of `index`, which is below 16, replaced by that byte of the 16 at `table`.
    fn lookup_bytes(self, table: &[u8; 16], index: Self::I) -> Self::I;
    /// The number of set bits of every lane.
    #[inline(always)]
    fn count_bits(self, x: Self::I) -> Self::I {
        const OF_NIBBLE: [u8; 16] = [0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4];
        let low = self.splat_int(0x0f0f_0f0f);
        let first = self.lookup_bytes(&OF_NIBBLE, self.and_int(x, low));
        let second = self.lookup_bytes(&OF_NIBBLE, self.and_int(self.shr(x, 4), low));
        // No byte exceeds 8, so the sums of bytes do not carry.
        let bytes = self.add_int(first, second);
        self.dot4(self.splat_int(0), bytes, self.splat_int(0x0101_0101))
    }
    /// [`count_bits`](Simd::count_bits) in the one instruction that newer processors have for it.
    /// # Safety
    /// The processor has AVX512-VPOPCNTDQ, where this is [`Isa::Avx512`].
    #[inline(always)]
    unsafe fn count_bits_native(self, x: Self::I) -> Self::I {
        self.count_bits(x)
    }

    /// The sum of the lanes, by halves: lanes i and i+8, then i and i+4, then i and i+2, then the last two. The one
    /// order for every instruction set.
    fn hsum(self, x: Self::F) -> f32;
    /// The largest lane, folded by [`max`](Simd::max) in the order of [`hsum`](Simd::hsum).
    fn hmax(self, x: Self::F) -> f32;

    /// All lanes 0.
    #[inline(always)]
    fn zero(self) -> Self::F {
        self.splat(0.0)
    }
    /// `-x`, the sign bit turned.
    #[inline(always)]
    fn neg(self, x: Self::F) -> Self::F {
        self.float_from_bits(self.xor_int(self.bits(x), self.splat_int(i32::MIN)))
    }
    /// Loads the first 16 values of a slice that has at least as many.
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::F {
        assert!(from.len() >= LANES);
        // SAFETY: the length was checked.
        unsafe { self.load_ptr(from.as_ptr()) }
    }
    /// Stores to the first 16 places of a slice that has at least as many.
    #[inline(always)]
    fn store(self, to: &mut [f32], x: Self::F) {
        assert!(to.len() >= LANES);
        // SAFETY: the length was checked.
        unsafe { self.store_ptr(to.as_mut_ptr(), x) }
    }
    /// The lanes as an array.
    #[inline(always)]
    fn to_array(self, x: Self::F) -> [f32; LANES] {
        let mut out = [0.0; LANES];
        self.store(&mut out, x);
        out
    }
    /// The integer lanes as an array.
    #[inline(always)]
    fn to_int_array(self, x: Self::I) -> [i32; LANES] {
        let mut out = [0; LANES];
        // SAFETY: the array has 16 places.
        unsafe { self.store_int_ptr(out.as_mut_ptr(), x) }
        out
    }
}

/// An instruction set that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Isa {
    /// Arrays of 16 `f32`, compiled for the target's baseline (SSE2 on x86-64, without FMA).
    Portable = 1,
    /// AVX2, FMA and F16C: two registers of 8.
    Avx2 = 2,
    /// AVX-512 F, BW, DQ and VL: one register of 16.
    Avx512 = 3,
    /// NEON: four registers of 4.
    Neon = 4,
}

impl Isa {
    /// All, the best last within a processor family.
    pub const ALL: [Isa; 4] = [Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Neon];

    /// The name in reports and in `RANKSTILL_ISA`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
        }
    }

    /// Whether this machine can run it.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
            Isa::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => false,
        }
    }

    /// Whether its multiply-add rounds once; equal bits are promised among those.
    pub fn is_fused(self) -> bool {
        match self {
            Isa::Portable => Portable::FUSED,
            _ => true,
        }
    }
}

/// The instruction set that the next kernel runs on: the best that this machine has, or what `RANKSTILL_ISA`
/// (avx512, avx2, neon, portable; read once) or [`force`] select, if the machine has it.
#[inline(always)]
pub fn isa() -> Isa {
    #[cfg(test)]
    if let Some(isa) = OF_THIS_THREAD.get() {
        return isa;
    }
    match CHOSEN.load(Ordering::Relaxed) {
        1 => Isa::Portable,
        2 => Isa::Avx2,
        3 => Isa::Avx512,
        4 => Isa::Neon,
        _ => detect(),
    }
}

/// # Errors
/// If `RANKSTILL_ISA` names no instruction set: the message says which there are.
pub fn check_named() -> Result<(), String> {
    let Ok(named) = std::env::var("RANKSTILL_ISA") else { return Ok(()) };
    if Isa::ALL.into_iter().any(|isa| isa.name() == named) {
        return Ok(());
    }
    let names: Vec<&str> = Isa::ALL.into_iter().map(Isa::name).collect();
    Err(format!("RANKSTILL_ISA: expected one of {}, found `{named}`", names.join(", ")))
}

/// Runs all kernels of the process on `isa` from now on, or on the detected one again. Returns whether the
/// machine has it; if not, nothing changes. For programs that compare instruction sets; this crate's own
/// tests, which share a process, use `with_isa`.
pub fn force(isa: Option<Isa>) -> bool {
    match isa {
        Some(isa) if !isa.is_available() => return false,
        Some(isa) => CHOSEN.store(isa as u8, Ordering::Relaxed),
        None => {
            detect();
        }
    }
    true
}

/// Runs `work` inside a rayon pool of `threads` of its own, all of whose kernels run on `isa`, whatever other
/// tests do meanwhile. `None` where the machine lacks it.
#[cfg(test)]
pub(crate) fn with_isa<T: Send>(
    isa: Isa,
    threads: usize,
    work: impl FnOnce() -> T + Send,
) -> Option<T> {
    if !isa.is_available() {
        return None;
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .start_handler(move |_| OF_THIS_THREAD.set(Some(isa)))
        .build()
        .expect("a pool of a few threads");
    Some(pool.install(work))
}

#[cfg(test)]
thread_local! {
    static OF_THIS_THREAD: std::cell::Cell<Option<Isa>> = const { std::cell::Cell::new(None) };
}

/// 0: not yet detected.
static CHOSEN: AtomicU8 = AtomicU8::new(0);

#[cold]
#[inline(never)]
fn detect() -> Isa {
    let best = [Isa::Neon, Isa::Avx512, Isa::Avx2].into_iter().find(|isa| isa.is_available());
    let named = std::env::var("RANKSTILL_ISA").ok();
    let named = named.and_then(|name| Isa::ALL.into_iter().find(|isa| isa.name() == name));
    let isa = named.filter(|isa| isa.is_available()).or(best).unwrap_or(Isa::Portable);
    CHOSEN.store(isa as u8, Ordering::Relaxed);
    isa
}

/// Makes a function that runs a kernel on the instruction set of [`isa`].
///
/// ```ignore
/// dispatch! {
///     /// y += a * x
///     pub fn axpy(a: f32, x: &[f32], y: &mut [f32]) = axpy_kernel;
/// }
/// #[inline(always)]
/// fn axpy_kernel<S: Simd>(s: S, a: f32, x: &[f32], y: &mut [f32]) { .. }
/// ```
///
/// One call may define several functions; `unsafe fn`, a result, and const generics (`fn name[const N: usize](..)`,
/// which the kernel gets after `S`) are understood. Named lifetimes are not supported: use elided ones.
macro_rules! dispatch {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident $([$(const $n:ident : $nty:ty),+])?
        ($($arg:ident : $ty:ty),* $(,)?) $(-> $ret:ty)? = $kernel:ident;)+) => {$(
        $(#[$meta])*
        #[inline]
        #[allow(clippy::too_many_arguments)]
        $vis fn $name $(<$(const $n: $nty),+>)? ($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt")]
                #[allow(clippy::too_many_arguments)]
                fn avx512 $(<$(const $n: $nty),+>)? ($($arg: $ty),*) $(-> $ret)? {
                    // SAFETY: this function has the features.
                    let token = unsafe { $crate::kernel::simd::Avx512::new() };
                    $kernel::<_ $($(, $n)+)?>(token, $($arg),*)
                }
                #[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt")]
                #[allow(clippy::too_many_arguments)]
                fn avx2 $(<$(const $n: $nty),+>)? ($($arg: $ty),*) $(-> $ret)? {
                    // SAFETY: this function has the features.
                    let token = unsafe { $crate::kernel::simd::Avx2::new() };
                    $kernel::<_ $($(, $n)+)?>(token, $($arg),*)
                }
                match $crate::kernel::simd::isa() {
                    // SAFETY: `isa` returns only detected instruction sets; every processor with AVX2 has the
                    // other four.
                    $crate::kernel::simd::Isa::Avx512 => unsafe { avx512 $(::<$($n),+>)? ($($arg),*) },
                    // SAFETY: as above.
                    $crate::kernel::simd::Isa::Avx2 => unsafe { avx2 $(::<$($n),+>)? ($($arg),*) },
                    _ => $kernel::<_ $($(, $n)+)?>($crate::kernel::simd::Portable, $($arg),*),
                }
            }
            #[cfg(target_arch = "aarch64")]
            {
                match $crate::kernel::simd::isa() {
                    $crate::kernel::simd::Isa::Portable => {
                        $kernel::<_ $($(, $n)+)?>($crate::kernel::simd::Portable, $($arg),*)
                    }
                    _ => {
                        // SAFETY: NEON is part of every aarch64 target.
                        let token = unsafe { $crate::kernel::simd::Neon::new() };
                        $kernel::<_ $($(, $n)+)?>(token, $($arg),*)
                    }
                }
            }
            #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
            {
                $kernel::<_ $($(, $n)+)?>($crate::kernel::simd::Portable, $($arg),*)
            }
        }
    )+};
}
pub(crate) use dispatch;

/// Asks the processor to fetch the cache line at `from` for reading; any address is fine.
#[inline(always)]
pub fn prefetch<T>(from: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(from.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a prefetch never faults.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) from, options(nostack, readonly, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = from;
}

#[cfg(test)]
mod tests;
