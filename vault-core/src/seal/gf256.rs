//! Arithmetic in GF(2⁸) modulo x⁸ + x⁴ + x³ + x + 1 (FIPS 197 §4.2), without tables or branches on what is multiplied: both would show in the
//! time that it takes.

/// Product.
pub(super) fn multiply(a: u8, b: u8) -> u8 {
    let (mut a, mut b, mut product) = (a, b, 0u8);
    for _ in 0..8 {
        // All ones where the lowest bit is set.
        product ^= a & (b & 1).wrapping_neg();
        let reduce = (a >> 7).wrapping_neg() & 0x1b;
        a = (a << 1) ^ reduce;
        b >>= 1;
    }
    product
}

/// `a⁻¹` as a²⁵⁴; 0 for 0, which callers rule out.
pub(super) fn invert(a: u8) -> u8 {
    // 254 = 0b1111_1110
    let (mut power, mut product) = (a, 1);
    for _ in 0..7 {
        power = multiply(power, power);
        product = multiply(product, power);
    }
    product
}

/// `c₀ + c₁x + c₂x² + …`
pub(super) fn evaluate(coefficients: &[u8], x: u8) -> u8 {
    coefficients.iter().rev().fold(0, |sum, coefficient| multiply(sum, x) ^ coefficient)
}

/// Lagrange's weights of these places for the value at 0. Places are different from each other and from 0.
pub(super) fn weights(places: &[u8]) -> Vec<u8> {
    let weight = |at: u8| {
        let others = places.iter().filter(|other| **other != at);
        others.fold(1, |weight, other| multiply(weight, multiply(*other, invert(*other ^ at))))
    };
    places.iter().copied().map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fips_197_examples() {
        // FIPS 197 §4.2 and §4.2.1.
        assert_eq!(multiply(0x57, 0x83), 0xc1);
        assert_eq!(multiply(0x57, 0x13), 0xfe);
        assert_eq!([0x02, 0x04, 0x08, 0x10].map(|b| multiply(0x57, b)), [0xae, 0x47, 0x8e, 0x07]);
    }

    #[test]
    fn is_a_field() {
        for a in 0..=255u8 {
            assert_eq!(multiply(a, 1), a);
            assert_eq!(multiply(a, 0), 0);
            if a != 0 {
                assert_eq!(multiply(a, invert(a)), 1, "{a}");
            }
            for b in 0..=255u8 {
                assert_eq!(multiply(a, b), multiply(b, a));
                let c = a.wrapping_mul(31) ^ b;
                assert_eq!(multiply(a, b ^ c), multiply(a, b) ^ multiply(a, c));
                assert_eq!(multiply(a, multiply(b, c)), multiply(multiply(a, b), c));
            }
        }
    }
}
