//! Numbers, to the same bits as the general reader: correctly rounded.
use super::scan::{Scan, Scanned, Stop};

/// Digits that a `u64` holds whatever they are.
const MOST_DIGITS: usize = 19;
/// Digits of an identifier that is read here.
const MOST_WHOLE: usize = 18;

/// Powers of ten that a `u64` holds.
const POWERS: [u64; MOST_DIGITS + 1] = {
    let mut powers = [1; MOST_DIGITS + 1];
    let mut i = 1;
    while i < powers.len() {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

impl Scan<'_> {
    /// A number that is finite as `f64`.
    #[inline]
    pub(super) fn number(&mut self) -> Scanned<f64> {
        self.next()?;
        let from = self.at;
        let number = self.decimal()?;
        if number.plain {
            let value = quotient(number.digits, number.fraction);
            return Ok(if number.negative { -value } else { value });
        }
        let text = std::str::from_utf8(&self.bytes[from..self.at]).map_err(|_| Stop::Odd)?;
        text.parse().ok().filter(|v: &f64| v.is_finite()).ok_or(Stop::Odd)
    }

    /// Takes a number that is finite as `f64`, without saying which.
    #[inline]
    pub(super) fn pass_number(&mut self) -> Scanned<()> {
        self.next()?;
        let from = self.at;
        if !self.decimal()?.plain {
            self.at = from;
            self.number()?;
        }
        Ok(())
    }

    /// A whole number written without fraction and exponent.
    #[inline]
    pub(super) fn whole(&mut self) -> Scanned<i64> {
        self.next()?;
        let from = self.at;
        let Decimal { digits, negative, fraction, plain } = self.decimal()?;
        if !plain || fraction > 0 || self.at - from > MOST_WHOLE {
            return Err(Stop::Odd);
        }
        let value = digits as i64;
        match negative {
            true if value == 0 => Err(Stop::Odd), // -0 is a float
            true => Ok(-value),
            false => Ok(value),
        }
    }

    /// A number by JSON's grammar, up to a byte that ends it.
    #[inline(always)]
    fn decimal(&mut self) -> Scanned<Decimal> {
        let negative = self.peek()? == b'-';
        self.at += usize::from(negative);
        let from = self.at;
        let mut digits = self.digits(0);
        let whole = self.at - from;
        if whole == 0 || (whole > 1 && self.bytes[from] == b'0') {
            return Err(if self.at == self.bytes.len() { Stop::More } else { Stop::Odd });
        }
        let mut fraction = 0;
        if self.peek()? == b'.' {
            self.at += 1;
            let from = self.at;
            digits = self.digits(digits);
            fraction = self.at - from;
            if fraction == 0 {
                return Err(if self.at == self.bytes.len() { Stop::More } else { Stop::Odd });
            }
        }
        let mut plain = whole + fraction <= MOST_DIGITS;
        if matches!(self.peek()?, b'e' | b'E') {
            plain = false;
            self.exponent()?;
        }
        Ok(Decimal { digits, negative, fraction, plain })
    }

    fn exponent(&mut self) -> Scanned<()> {
        self.at += 1;
        self.at += usize::from(matches!(self.peek()?, b'+' | b'-'));
        if !self.peek()?.is_ascii_digit() {
            return Err(Stop::Odd);
        }
        self.digits(0);
        self.peek().map(|_| ())
    }

    /// Appends the digits that come next, eight at a time.
    #[inline(always)]
    fn digits(&mut self, mut value: u64) -> u64 {
        while let Some(&eight) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let (count, number) = leading_digits(eight);
            value = value.wrapping_mul(POWERS[count]).wrapping_add(number);
            self.at += count;
            if count < 8 {
                return value;
            }
        }
        while let Some(digit) = self.bytes.get(self.at).filter(|b| b.is_ascii_digit()) {
            value = value.wrapping_mul(10).wrapping_add((digit - b'0').into());
            self.at += 1;
        }
        value
    }
}

struct Decimal {
    /// All digits as one number, when they are at most [`MOST_DIGITS`].
    digits: u64,
    negative: bool,
    /// How many of them are behind the point.
    fraction: usize,
    /// No exponent, and not too many digits.
    plain: bool,
}

/// How many of eight characters are digits before the first that is none, and their number: three multiplications on
/// the bytes of a word side by side.
#[inline(always)]
fn leading_digits(eight: [u8; 8]) -> (usize, u64) {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let bytes = u64::from_le_bytes(eight) ^ 0x3030_3030_3030_3030;
    // The high bit of each byte that is above 9; a carry only reaches bytes behind the first of them.
    let others = (bytes.wrapping_add(0x7676_7676_7676_7676) | bytes) & HIGH;
    let count = (others.trailing_zeros() / 8) as usize;
    if count == 0 {
        return (0, 0);
    }
    // Zeros move in from the front.
    let digits = bytes << (64 - 8 * count);
    let pairs = (digits.wrapping_mul(10)).wrapping_add(digits >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100)).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    let eights = (fours.wrapping_mul(10_000)).wrapping_add(fours >> 32) & 0xffff_ffff;
    (count, eights)
}

/// `digits / 10^fraction`, correctly rounded.
#[inline(always)]
fn quotient(digits: u64, fraction: usize) -> f64 {
    const EXACT: u64 = 1 << 53;
    // 10^19 is a product of 2^19 and 5^19 < 2^53, so every power here is exact as `f64`.
    if digits <= EXACT {
        return digits as f64 / POWERS[fraction] as f64;
    }
    let power = POWERS[fraction];
    let (up, down) = (digits.leading_zeros(), power.leading_zeros());
    let (digits, power) = (digits << up, power << down);
    // Both are in [2^63, 2^64), so the quotient is in [2^62, 2^64): at least nine bits more than a `f64` keeps.
    let dividend = u128::from(digits) << 63;
    let quotient = (dividend / u128::from(power)) as u64;
    let is_exact = quotient.wrapping_mul(power) == dividend as u64;
    // What is cut off only matters for being more than half: one bit stands for it.
    let rounded = (quotient | u64::from(!is_exact)) as f64;
    let exponent = i64::from(down) - i64::from(up) - 63;
    rounded * f64::from_bits(((1023 + exponent) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str) {
        let padded = format!(" {text},");
        let mut scan = Scan::new(padded.as_bytes());
        let wanted: Result<f64, _> = serde_json::from_str(text);
        let got = scan.number();
        match wanted {
            Ok(wanted) => {
                assert_eq!(got.map(f64::to_bits), Ok(wanted.to_bits()), "{text}");
                assert_eq!(scan.at, padded.len() - 1, "{text}");
            }
            Err(_) => assert!(got.is_err() || scan.at < padded.len() - 1, "{text}: {got:?}"),
        }
        for length in 0..padded.len() - 1 {
            let got = Scan::new(&padded.as_bytes()[..length]).number();
            assert!(got.is_err(), "{text} cut after {length}: {got:?}");
        }
    }

    #[test]
    fn odd_numbers_are_read_as_the_general_reader_does() {
        for text in [
            "0",
            "-0",
            "-0.0",
            "0.0",
            "00",
            "01",
            "-",
            "+1",
            ".5",
            "1.",
            "1e2",
            "1E+3",
            "1e-400",
            "1e400",
            "-1e400",
            "0e999",
            "9007199254740993",
            "9007199254740992.5",
            "18446744073709551615",
            "18446744073709551616",
            "123456789012345678901234567890",
            "0.1234567890123456789",
            "0.00000000000000000001",
            "1e",
            "1e+",
            "NaN",
            "9999999999999999999",
            "0.9999999999999999999",
            "4.9e-324",
            "2.4703282292062327e-324",
        ] {
            check(text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn numbers_have_the_bits_of_the_general_reader(
            digits in any::<u64>(), cut in 0..20u32, point in 0..20usize, negative in any::<bool>(), exponent in -30..30i32, plain in any::<bool>(),
        ) {
            let mut text = (digits / 10u64.pow(cut.min(19))).to_string();
            if point < text.len() && point > 0 {
                text.insert(point, '.');
            } else if point == text.len() {
                text.insert_str(0, "0.");
            }
            if negative {
                text.insert(0, '-');
            }
            if !plain {
                text += &format!("e{exponent}");
            }
            check(&text);
        }

        #[test]
        fn printed_floats_come_back(value in any::<f64>(), small in -1e4..1e4f64) {
            for v in [value, small] {
                if v.is_finite() {
                    check(&format!("{v}"));
                    check(&format!("{v:e}"));
                }
            }
        }
    }
}
