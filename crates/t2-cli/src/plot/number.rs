//! Numbers as people read them: few digits, grouped thousands, powers of ten where a number is very large or small.

/// Sizes that are written without a power of ten.
const PLAIN: std::ops::Range<f64> = 1e-3..1e9;
/// What stands where there is no number.
pub(crate) const MISSING: &str = "–";

/// `value` in four significant digits, such as `0.5321`, `−1,250` or `1.2×10⁻⁵`.
pub(crate) fn short(value: f64) -> String {
    significant(value, 4)
}

/// `value` in two significant digits, to be taken in at a glance.
pub(crate) fn brief(value: f64) -> String {
    significant(value, 2)
}

fn significant(value: f64, digits: i32) -> String {
    let size = value.abs();
    if !value.is_finite() {
        MISSING.to_owned()
    } else if size == 0.0 {
        "0".to_owned()
    } else if PLAIN.contains(&size) {
        let decimals = (digits - 1 - power(size)).max(0);
        trimmed(&fixed(value, decimals as usize)).to_owned()
    } else {
        scientific(value, digits as usize - 1)
    }
}

/// `share` of one in percent, such as `71.4 %`.
pub(crate) fn percent(share: f64) -> String {
    if share.is_finite() { format!("{} %", fixed(100.0 * share, 1)) } else { MISSING.to_owned() }
}

/// Labels for values that lie `step` apart: all with the same decimals, as many as tell them apart.
pub(super) fn labels(values: &[f64], step: f64) -> Vec<String> {
    let size = values.iter().fold(0.0, |size: f64, value| size.max(value.abs()));
    let label = |value: &f64| {
        if size == 0.0 || PLAIN.contains(&size) {
            fixed(*value, (-power(step)).max(0) as usize)
        } else if value.abs() < step / 2.0 {
            "0".to_owned()
        } else {
            scientific(*value, (power(value.abs()) - power(step)).max(0) as usize)
        }
    };
    values.iter().map(label).collect()
}

/// The power of ten of the leading digit. A step such as 0.1 may be stored a little too small, hence the margin.
fn power(size: f64) -> i32 {
    (size * (1.0 + 1e-9)).log10().floor() as i32
}

/// `value` with exactly so many decimals.
fn fixed(value: f64, decimals: usize) -> String {
    let digits = format!("{:.decimals$}", value.abs());
    let (whole, rest) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let sign = if value < 0.0 && digits.contains(|c: char| ('1'..='9').contains(&c)) { "−" } else { "" };
    format!("{sign}{}{rest}", grouped(whole))
}

fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn trimmed(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

fn scientific(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$e}", value.abs());
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    let sign = if value < 0.0 { "−" } else { "" };
    let raised: String = power.chars().map(raised).collect();
    format!("{sign}{}×10{raised}", trimmed(digits))
}

fn raised(c: char) -> char {
    let digits = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    c.to_digit(10).map_or('⁻', |digit| digits[digit as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_four_digits_at_most() {
        let cases = [
            (0.0, "0"),
            (0.5, "0.5"),
            (-0.45, "−0.45"),
            (0.0123, "0.0123"),
            (12.5, "12.5"),
            (9.99996, "10"),
            (1500.0, "1,500"),
            (-1_234_567.8, "−1,234,568"),
            (1e-5, "1×10⁻⁵"),
            (-1.5e12, "−1.5×10¹²"),
            (f64::NAN, "–"),
        ];
        for (value, expected) in cases {
            assert_eq!(short(value), expected);
        }
        assert_eq!((brief(-0.271).as_str(), brief(1234.5).as_str()), ("−0.27", "1,234"));
        assert_eq!((percent(0.7).as_str(), percent(1.0).as_str()), ("70.0 %", "100.0 %"));
    }

    #[track_caller]
    fn check_labels(values: &[f64], step: f64, expected: &[&str]) {
        assert_eq!(labels(values, step), expected);
    }

    #[test]
    fn labels_of_an_axis_share_their_decimals() {
        check_labels(&[-0.5, 0.0, 0.5], 0.5, &["−0.5", "0.0", "0.5"]);
        check_labels(&[0.0, 2500.0, 5000.0], 2500.0, &["0", "2,500", "5,000"]);
        check_labels(&[1e6, 1e6 + 1.0], 1.0, &["1,000,000", "1,000,001"]);
        check_labels(&[0.0, 2e-5, 4e-5], 2e-5, &["0", "2×10⁻⁵", "4×10⁻⁵"]);
        check_labels(&[1.0e12, 1.1e12], 1e11, &["1×10¹²", "1.1×10¹²"]);
    }
}
