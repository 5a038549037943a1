use super::*;

/// Every operation on 16 lanes, as bits.
fn all_operations<S: Simd>(s: S, a: &[f32], b: &[f32], c: &[f32]) -> Vec<u32> {
    let (va, vb, vc) = (s.load(a), s.load(b), s.load(c));
    let one = s.splat(1.0);
    let n = s.round(s.max(s.splat(-200.0), s.min(s.splat(200.0), va)));
    let floats = [
        s.add(va, vb),
        s.sub(va, vb),
        s.mul(va, vb),
        s.div(va, vb),
        s.max(va, vb),
        s.min(va, vb),
        s.sqrt(s.abs(va)),
        s.abs(va),
        s.neg(va),
        s.round(va),
        s.scale2(s.splat(1.37), n),
        s.select(s.gt(va, vb), one, s.zero()),
        s.select(s.ge(va, vb), one, s.zero()),
        s.select(s.eq(va, vb), one, s.zero()),
        s.select(s.not_lt(va, vb), one, s.zero()),
        s.select(s.and_mask(s.gt(va, vb), s.gt(vb, vc)), va, vc),
        s.select(s.or_mask(s.gt(va, vb), s.gt(vb, vc)), va, vc),
        s.select(s.mask_from_bits(0b1010_0110_1100_0011), va, vb),
        // SAFETY: two u16 are four bytes; what stands in the second does not count.
        unsafe { s.keep_by_bits([0b1010_0110_1100_0011, u16::MAX].as_ptr(), va) },
        unsafe { s.keep_by_bits([0b1010_0110_1100_0011, 0].as_ptr(), vb) },
        s.to_float(s.to_int(n)),
    ];
    let (ia, ib) = (s.bits(va), s.bits(vb));
    let ints = [
        s.add_int(ia, ib),
        s.sub_int(ia, ib),
        s.and_int(ia, ib),
        s.or_int(ia, ib),
        s.xor_int(ia, ib),
        s.shl(ia, 5),
        s.shr(ia, 5),
        s.sra(ia, 5),
        s.count(ia, s.gt(va, vb)),
        s.dot4(ia, ib, s.splat_int(i32::from_le_bytes([64, 192, 0, 13]))),
        s.lookup_bytes(&TABLE, s.and_int(ia, s.splat_int(0x0f0f_0f0f))),
        s.count_bits(ia),
        s.shr_halves(ia, 5),
    ];
    let mut out: Vec<u32> = Vec::new();
    for x in floats {
        out.extend(s.to_array(x).map(f32::to_bits));
    }
    for x in ints {
        out.extend(s.to_int_array(x).map(|x| x as u32));
    }
    out.push(u32::from(s.mask_bits(s.gt(va, vb))));
    out.push(u32::from(s.sign_bits(ia)));
    let halves: [u16; LANES] = std::array::from_fn(|i| (ia_half(a[i])) ^ (i as u16));
    // SAFETY: the array has 16 places.
    out.extend(s.to_array(unsafe { s.load_half_ptr(halves.as_ptr()) }).map(f32::to_bits));
    out.push(s.hsum(va).to_bits());
    out.push(s.hmax(va).to_bits());
    for n in 0..=a.len() {
        out.extend(s.to_array(s.load_part(&a[..n])).map(f32::to_bits));
        let mut to = vec![7.0; n + 1];
        s.store_part(&mut to[..n], vb);
        out.extend(to.iter().map(|x| x.to_bits()));
    }
    out
}

/// Sixteen bytes that differ.
const TABLE: [u8; 16] = [7, 200, 0, 255, 13, 128, 91, 2, 64, 31, 99, 180, 5, 77, 240, 18];

/// Any half-precision number that is finite.
fn ia_half(x: f32) -> u16 {
    let half = (x.to_bits() >> 7) as u16;
    if half & 0x7c00 == 0x7c00 { half & 0x83ff } else { half }
}

#[inline(always)]
fn fused_kernel<S: Simd>(s: S, a: &[f32], b: &[f32], c: &[f32], out: &mut Vec<u32>) {
    let (a, b, c) = (s.load(a), s.load(b), s.load(c));
    out.extend(s.to_array(s.fma(a, b, c)).map(f32::to_bits));
    out.extend(s.to_array(s.fnma(a, b, c)).map(f32::to_bits));
}

#[inline(always)]
fn operations_kernel<S: Simd>(s: S, a: &[f32], b: &[f32], c: &[f32], out: &mut Vec<u32>) {
    *out = all_operations(s, a, b, c);
}

#[inline(always)]
fn name_kernel<S: Simd>(_: S) -> Isa {
    S::ISA
}

dispatch! {
    fn operations(a: &[f32], b: &[f32], c: &[f32], out: &mut Vec<u32>) = operations_kernel;
    fn fused(a: &[f32], b: &[f32], c: &[f32], out: &mut Vec<u32>) = fused_kernel;
    fn running() -> Isa = name_kernel;
}

fn inputs() -> Vec<[Vec<f32>; 3]> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 40) as f32 / (1 << 24) as f32 - 0.5) * 300.0
    };
    let mut out: Vec<[Vec<f32>; 3]> =
        (0..50).map(|_| std::array::from_fn(|_| (0..20).map(|_| next()).collect())).collect();
    // Where comparisons, rounding and signs are delicate.
    let odd = [
        0.0,
        -0.0,
        0.5,
        1.5,
        2.5,
        -0.5,
        -1.5,
        -0.3,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MIN_POSITIVE,
        1e-40,
        -1e-40,
        1.0,
        -1.0,
        3.0,
        0.0,
        0.0,
        0.0,
        0.0,
    ];
    let turned: Vec<f32> = odd.iter().rev().copied().collect();
    // Finite where the answer would be NaN, whose bits no standard fixes.
    let finite: Vec<f32> = odd.iter().map(|x| if x.is_finite() { *x } else { 2.0 }).collect();
    out.push([
        finite.clone(),
        turned.iter().map(|x| x.clamp(-9.0, 9.0) + 0.25).collect(),
        odd.into(),
    ]);
    out
}

#[test]
fn every_operation_agrees_on_every_instruction_set() {
    for [a, b, c] in inputs() {
        let mut expected = Vec::new();
        operations_kernel(Portable, &a, &b, &c, &mut expected);
        for isa in Isa::ALL {
            let mut found = Vec::new();
            with_isa(isa, 1, || operations(&a, &b, &c, &mut found));
            assert!(found.is_empty() != isa.is_available());
            if isa.is_available() {
                assert_eq!(found, expected, "{}", isa.name());
            }
        }
    }
}

#[test]
fn fma_rounds_once_where_it_says_so() {
    for [a, b, c] in inputs() {
        let once: Vec<u32> = (0..LANES)
            .map(|i| a[i].mul_add(b[i], c[i]).to_bits())
            .chain((0..LANES).map(|i| (-a[i]).mul_add(b[i], c[i]).to_bits()))
            .collect();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available() && isa.is_fused()) {
            let mut found = Vec::new();
            with_isa(isa, 1, || fused(&a, &b, &c, &mut found));
            assert_eq!(found, once, "{}", isa.name());
        }
    }
}

#[test]
fn halves_are_what_the_standard_says() {
    let known = [
        (0x3c00, 1.0),
        (0xc000, -2.0),
        (0x0001, 2f32.powi(-24)),
        (0x83ff, -1023.0 * 2f32.powi(-24)),
        (0x0400, 2f32.powi(-14)),
        (0x7bff, 65_504.0),
        (0x3555, 0.333_251_95),
        (0x8000, -0.0),
    ];
    for (half, float) in known {
        assert_eq!(portable::half_to_float(half).to_bits(), float.to_bits(), "{half:#x}");
    }
}

#[inline(always)]
fn dots_kernel<S: Simd>(s: S, a: &[i32; LANES], b: &[i32; LANES], out: &mut Vec<i32>) {
    // SAFETY: both have 16 places.
    let (a, b) = unsafe { (s.load_int_ptr(a.as_ptr()), s.load_int_ptr(b.as_ptr())) };
    out.extend(s.to_int_array(s.dot4(s.splat_int(-7), a, b)));
}

dispatch! {
    fn dots(a: &[i32; LANES], b: &[i32; LANES], out: &mut Vec<i32>) = dots_kernel;
}

#[test]
fn products_of_bytes_are_summed_exactly_up_to_their_limits() {
    let mut state = 5u64;
    for round in 0..200 {
        let bytes: Vec<([u8; 4], [i8; 4])> = (0..LANES)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(99);
                let draw = state.to_be_bytes();
                let a = std::array::from_fn(|i| if round < 9 { 255 } else { draw[i] });
                let b = |i: usize| (draw[i] as i8).clamp(-64, 64);
                let b = |i| {
                    if round % 3 == 0 {
                        64
                    } else if round % 3 == 1 {
                        -64
                    } else {
                        b(i)
                    }
                };
                (a, std::array::from_fn(b))
            })
            .collect();
        let naive: Vec<i32> = bytes
            .iter()
            .map(|(a, b)| (0..4).map(|i| i32::from(a[i]) * i32::from(b[i])).sum::<i32>() - 7)
            .collect();
        let a = std::array::from_fn(|lane| i32::from_le_bytes(bytes[lane].0));
        let b = std::array::from_fn(|lane| i32::from_le_bytes(bytes[lane].1.map(|b| b as u8)));
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let mut found = Vec::new();
            with_isa(isa, 1, || dots(&a, &b, &mut found));
            assert_eq!(found, naive, "{}", isa.name());
        }
    }
}

#[test]
fn the_sum_of_lanes_follows_the_documented_tree() {
    // 2^24 + 1 is not an f32, so the order of additions shows.
    let mut x = [0.0f32; LANES];
    (x[0], x[8], x[1], x[9]) = (16_777_216.0, 1.0, -16_777_216.0, 3.0);
    // (2^24 + 1 -> 2^24) + (-2^24 + 3 -> -(2^24 - 3)) = 3
    assert_eq!(Portable.hsum(x), 3.0);
    let counted: [f32; LANES] = std::array::from_fn(|i| (1 << i) as f32);
    assert_eq!(Portable.hsum(counted), 65_535.0);
}

#[test]
fn force_takes_only_what_the_machine_has() {
    for isa in Isa::ALL {
        let ran = with_isa(isa, 1, running);
        assert_eq!(ran, isa.is_available().then_some(isa));
    }
}

#[inline(always)]
fn counts_kernel<S: Simd>(s: S, x: &[i32; LANES], counts: &mut [i32; LANES]) {
    // SAFETY: both have 16 places.
    unsafe { s.store_int_ptr(counts.as_mut_ptr(), s.count_bits(s.load_int_ptr(x.as_ptr()))) }
}

dispatch! {
    fn counts(x: &[i32; LANES], counts: &mut [i32; LANES]) = counts_kernel;
}

#[inline(always)]
fn halves_kernel<S: Simd>(s: S, x: &[i32; LANES], out: &mut [i32; LANES]) {
    // SAFETY: both have 16 places.
    unsafe { s.store_int_ptr(out.as_mut_ptr(), s.shr_halves(s.load_int_ptr(x.as_ptr()), 8)) }
}

dispatch! {
    fn shifted_halves(x: &[i32; LANES], out: &mut [i32; LANES]) = halves_kernel;
}

#[test]
fn halves_are_shifted_apart() {
    let x: [i32; LANES] = std::array::from_fn(|i| (i as i32 + 9).wrapping_mul(-0x0135_79bd));
    for isa in Isa::ALL {
        let found = with_isa(isa, 1, || {
            let mut found = [0; LANES];
            shifted_halves(&x, &mut found);
            found
        });
        // The second and the fourth byte.
        let expected = x.map(|x| (x as u32 >> 8 & 0x00ff_00ff) as i32);
        assert!(found.is_none_or(|found| found == expected), "{isa:?}");
    }
}

#[test]
fn set_bits_are_counted() {
    let x: [i32; LANES] = std::array::from_fn(|i| match i {
        0 => 0,
        1 => -1,
        _ => (i as i32).wrapping_mul(0x0135_79bd),
    });
    for isa in Isa::ALL {
        let found = with_isa(isa, 1, || {
            let mut found = [0; LANES];
            counts(&x, &mut found);
            found
        });
        assert!(found.is_none_or(|found| found == x.map(|x| x.count_ones() as i32)), "{isa:?}");
    }
}
