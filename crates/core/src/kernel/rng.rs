//! Random numbers that depend on *what* they are drawn for, not on threads or order.
//!
//! [`Rng::keyed`] makes an independent stream for every key, such as (seed, epoch, row), in a few
//! nanoseconds. Work can then be cut and spread over threads in any way: row 17 of epoch 3 sees the same
//! numbers. The stream itself is xoshiro256++ 1.0 (Blackman & Vigna, "Scrambled linear pseudorandom number
//! generators", ACM TOMS 2021); its state comes from the key by the finaliser of SplitMix64 (Steele, Lea &
//! Flood, OOPSLA 2014), a bijection applied once a key word.
//!
//! Nothing here calls the system's mathematics library, so the numbers are the same bits on every platform.

/// A stream of random numbers. Not for cryptography.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng([u64; 4]);

impl Rng {
    /// The stream of a seed. The same as `keyed(seed, [])`.
    pub fn new(seed: u64) -> Self {
        Self::keyed(seed, [])
    }

    /// The stream of a key, by convention `[epoch, row]`. Keys that differ in any word, or in length, give
    /// unrelated streams.
    #[inline]
    pub fn keyed<const N: usize>(seed: u64, key: [u64; N]) -> Self {
        let mut hash = mix(seed ^ (N as u64).wrapping_mul(0xd6e8_feb8_6659_fd93));
        for word in key {
            // Multiply before the word enters: else (a, b) and (b, a) would be one step from meeting.
            hash = mix(hash.wrapping_mul(0x9fb2_1c65_1e98_df25) ^ word.wrapping_add(GOLDEN));
        }
        let mut state = [0; 4];
        for s in &mut state {
            hash = hash.wrapping_add(GOLDEN);
            *s = mix(hash); // distinct inputs to a bijection: at most one word is 0
        }
        Self(state)
    }

    /// 64 random bits.
    #[inline(always)]
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.0;
        let out = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        out
    }

    /// 32 random bits.
    #[inline(always)]
    pub fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// A number in `0..n`, each equally likely (Lemire, "Fast random integer generation in an interval", ACM
    /// TOMACS 2019). 0 if `n` is 0.
    #[inline(always)]
    pub fn below(&mut self, n: u32) -> u32 {
        let mut product = u64::from(self.next_u32()) * u64::from(n);
        if (product as u32) < n {
            let threshold = n.wrapping_neg().checked_rem(n).unwrap_or(0);
            while (product as u32) < threshold {
                product = u64::from(self.next_u32()) * u64::from(n);
            }
        }
        (product >> 32) as u32
    }

    /// A number in `[0, 1)`, a multiple of 2^-24.
    #[inline(always)]
    pub fn uniform(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 * (1.0 / (1u32 << 24) as f32)
    }

    /// A number in `[0, 1)`, a multiple of 2^-53.
    #[inline(always)]
    pub fn uniform_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// `true` with probability `p`.
    #[inline(always)]
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform_f64() < p
    }

    /// A standard normal number. Draws come in pairs: [`Rng::fill_normal`] wastes none.
    pub fn normal(&mut self) -> f32 {
        self.normal_pair().0 as f32
    }

    /// Fills with normal numbers of this mean and standard deviation.
    pub fn fill_normal(&mut self, out: &mut [f32], mean: f32, std: f32) {
        let place = |z: f64| (f64::from(mean) + f64::from(std) * z) as f32;
        for pair in out.chunks_mut(2) {
            let (first, second) = self.normal_pair();
            pair[0] = place(first);
            if let Some(x) = pair.get_mut(1) {
                *x = place(second);
            }
        }
    }

    /// Fills with numbers uniform in `[low, high)`.
    pub fn fill_uniform(&mut self, out: &mut [f32], low: f32, high: f32) {
        for x in out {
            *x = low + (high - low) * self.uniform();
        }
    }

    /// Puts the elements in random order, each order equally likely (Fisher-Yates).
    ///
    /// # Panics
    /// If there are more than 2^32 - 1 elements.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        let n = u32::try_from(items.len()).expect("at most 2^32 - 1 elements to shuffle");
        for i in (1..n).rev() {
            items.swap(i as usize, self.below(i + 1) as usize);
        }
    }

    /// `0..n` in random order.
    pub fn permutation(&mut self, n: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }

    /// Two independent standard normal numbers (Marsaglia's polar method).
    fn normal_pair(&mut self) -> (f64, f64) {
        loop {
            let x = 2.0 * self.uniform_f64() - 1.0;
            let y = 2.0 * self.uniform_f64() - 1.0;
            let square = x * x + y * y;
            if square < 1.0 && square > 0.0 {
                let scale = (-2.0 * ln(square) / square).sqrt();
                return (x * scale, y * scale);
            }
        }
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of SplitMix64 (variant 13 of Stafford): a bijection of the 64-bit words.
#[inline(always)]
pub(super) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Natural logarithm of a positive normal number by `ln m = 2 artanh((m - 1) / (m + 1))`, to about 1e-15:
/// ours, because `f64::ln` may differ in its last bit between platforms.
fn ln(x: f64) -> f64 {
    let mut exponent = ((x.to_bits() >> 52) as i64 - 1023) as f64;
    let mut mantissa = f64::from_bits(x.to_bits() & ((1 << 52) - 1) | (1023 << 52));
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1.0;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s; // below 0.0295: eleven terms reach 1e-17
    let series = (0..11).rev().fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 1));
    exponent * std::f64::consts::LN_2 + 2.0 * s * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xoshiro_gives_the_reference_numbers() {
        // The authors' C code, state {1, 2, 3, 4}; also the test vector of the `rand_xoshiro` crate.
        let mut rng = Rng([1, 2, 3, 4]);
        for expected in [
            41943041,
            58720359,
            3588806011781223,
            3591011842654386,
            9228616714210784205,
            9973669472204895162,
        ] {
            assert_eq!(rng.next_u64(), expected);
        }
    }

    #[test]
    fn below_is_uniform_by_chi_square() {
        for n in [2u32, 3, 7, 100, 1000] {
            let mut rng = Rng::keyed(11, [u64::from(n)]);
            let draws = 1000 * n.max(100);
            let mut counts = vec![0u32; n as usize];
            for _ in 0..draws {
                counts[rng.below(n) as usize] += 1;
            }
            assert_chi_square(&counts, f64::from(draws));
        }
        // Where plain `next % n` or an unrejected multiplication would be off by a factor of 1.5: n = 3/4 of 2^32.
        let n = 3u32 << 30;
        let mut rng = Rng::new(5);
        let mut counts = [0u32; 3];
        for _ in 0..300_000 {
            counts[(rng.below(n) >> 30) as usize] += 1;
        }
        assert_chi_square(&counts, 300_000.0);
        assert_eq!(Rng::new(1).below(0), 0);
        assert_eq!(Rng::new(1).below(1), 0);
    }

    /// The first number of each of many neighbouring keys must look like one stream: this is how rows use them.
    #[test]
    fn neighbouring_keys_are_uniform_and_uncorrelated() {
        let n = 200_000u64;
        let keys: [fn(u64) -> Rng; 4] = [
            |i| Rng::keyed(7, [3, i]),
            |i| Rng::keyed(7, [i, 3]),
            |i| Rng::keyed(i, [7, 3]),
            |i| Rng::keyed(i, []),
        ];
        for key in keys {
            let first: Vec<f64> = (0..n).map(|i| key(i).uniform_f64()).collect();
            let mut counts = [0u32; 64];
            for x in &first {
                counts[(x * 64.0) as usize] += 1;
            }
            assert_chi_square(&counts, n as f64);
            for lag in [1, 2, 64] {
                let pairs = first[lag..].iter().zip(&first);
                let sum = pairs.fold(0.0, |sum, (a, b)| sum + (a - 0.5) * (b - 0.5));
                let correlation = 12.0 * sum / (n as f64 - lag as f64);
                assert!(correlation.abs() < 4.5 / (n as f64).sqrt(), "lag {lag}: {correlation}");
            }
            // Every single bit: half of the keys set it, and the next key flips it half of the time.
            let words: Vec<u64> = (0..n).map(|i| key(i).next_u64()).collect();
            for bit in 0..64 {
                let set = words.iter().filter(|&&w| w >> bit & 1 == 1).count() as f64;
                let flips =
                    words.windows(2).filter(|w| (w[0] ^ w[1]) >> bit & 1 == 1).count() as f64;
                let bound = 5.0 * (n as f64 / 4.0).sqrt();
                assert!((set - n as f64 / 2.0).abs() < bound, "bit {bit}: {set}");
                assert!((flips - n as f64 / 2.0).abs() < bound, "bit {bit}: {flips}");
            }
        }
    }

    #[test]
    fn keys_that_look_alike_give_different_streams() {
        let streams = [
            Rng::new(0),
            Rng::keyed(0, [0]),
            Rng::keyed(0, [0, 0]),
            Rng::keyed(0, [1, 0]),
            Rng::keyed(0, [0, 1]),
            Rng::keyed(1, [0, 0]),
            Rng::keyed(1, [0]),
        ];
        for (i, a) in streams.iter().enumerate() {
            assert!(streams[..i].iter().all(|b| a != b), "{i}");
        }
        assert_eq!(Rng::keyed(4, [5, 6]), Rng::keyed(4, [5, 6]));
    }

    #[test]
    fn normal_numbers_have_the_moments_and_the_tails_of_a_normal() {
        let n = 1_000_000;
        let mut draws = vec![0.0; n + 1];
        Rng::new(9).fill_normal(&mut draws, 0.0, 1.0);
        let moment = |p: i32| {
            draws.iter().fold(0.0, |sum, &x| sum + f64::from(x).powi(p)) / draws.len() as f64
        };
        // Bounds: about 4.5 standard errors, sqrt(Var(x^p) / n).
        for (p, expected, variance) in
            [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)]
        {
            let error = (moment(p) - expected).abs();
            assert!(error < 4.5 * (variance / n as f64).sqrt(), "moment {p}: off by {error}");
        }
        let beyond = |x: f32| draws.iter().filter(|d| d.abs() > x).count() as f64 / n as f64;
        assert!((beyond(1.0) - 0.317_310_5).abs() < 0.0021);
        assert!((beyond(3.0) - 0.002_699_8).abs() < 0.00024);
        let mut shifted = vec![0.0; 100_000];
        Rng::new(3).fill_normal(&mut shifted, 5.0, 0.5);
        let mean = shifted.iter().fold(0.0, |sum, &x| sum + f64::from(x)) / 1e5;
        assert!((mean - 5.0).abs() < 0.0075, "{mean}");
    }

    #[test]
    fn our_logarithm_is_the_logarithm() {
        let mut rng = Rng::new(2);
        for x in (0..10_000).map(|_| rng.uniform_f64() + 1e-300).chain([1e-300, 1.0, 2.0, 1e10]) {
            assert!((ln(x) - x.ln()).abs() <= 4e-16 * x.ln().abs().max(1.0), "{x}");
        }
    }

    #[test]
    fn uniform_fills_its_interval_and_never_reaches_the_end() {
        let mut rng = Rng::new(8);
        let draws: Vec<f32> = (0..1_000_000).map(|_| rng.uniform()).collect();
        assert!(draws.iter().all(|x| (0.0..1.0).contains(x)));
        let mean = draws.iter().fold(0.0, |sum, &x| sum + f64::from(x)) / 1e6;
        assert!((mean - 0.5).abs() < 4.5 * (1.0 / 12e6f64).sqrt());
        assert!((0..1000).filter(|_| rng.chance(0.25)).count().abs_diff(250) < 62);
    }

    #[test]
    fn every_order_of_four_is_equally_likely() {
        let mut counts = [0u32; 256];
        for row in 0..240_000 {
            let order = Rng::keyed(1, [row]).permutation(4);
            counts[order.iter().fold(0, |code, &x| code * 4 + x as usize)] += 1;
        }
        let seen: Vec<u32> = counts.into_iter().filter(|&c| c > 0).collect();
        assert_eq!(seen.len(), 24);
        assert_chi_square(&seen, 240_000.0);
        let mut long = Rng::new(1).permutation(1000);
        long.sort_unstable();
        assert!(long.iter().enumerate().all(|(i, &x)| i == x as usize));
    }

    /// All cells equally likely? Fails beyond about 4.5 standard deviations (Wilson-Hilferty), at either end.
    fn assert_chi_square(counts: &[u32], draws: f64) {
        let expected = draws / counts.len() as f64;
        let chi = counts.iter().fold(0.0, |s, &c| s + (f64::from(c) - expected).powi(2) / expected);
        let k = counts.len() as f64 - 1.0;
        let z = ((chi / k).cbrt() - (1.0 - 2.0 / (9.0 * k))) / (2.0 / (9.0 * k)).sqrt();
        assert!(z.abs() < 4.5, "chi-square {chi} with {k} degrees of freedom: z = {z}");
    }
}
