//! Whether two answers of mathematics have the same value, however they are written.
//!
//! An answer is read as what it is (a value, several in any order, a pair or an interval, a matrix, an equation, a word)
//! and its values are worked out exactly, see [`polynomial`]: nothing is rounded, so different values are never taken for
//! the same. What the notation leaves open is read as answers of MATH mean it: `3\frac{1}{2}` is a mixed number, `1,234`
//! one number, `i` the imaginary unit, and the letters of `xy` are multiplied. What cannot be read equals nothing.

mod answer;
mod polynomial;
mod reader;
mod token;

use answer::{Answer, answer};
use polynomial::Value;

/// A longer text is no answer, and would take long, and more of the stack than there is.
const MAX_LEN: usize = 400;

/// What a text is; `None` where it cannot be read, or is too long.
fn read(text: &str) -> Option<Answer> {
    if text.len() <= MAX_LEN { answer(text) } else { None }
}

/// Whether two answers are the same. A unit counts where both have one; `50\%` is 50 and also 1/2.
pub(super) fn same(a: &str, b: &str) -> bool {
    read(a).is_some_and(|a| read(b).is_some_and(|b| a.same(&b)))
}

/// Whether two answers are values without units that are the same, or real numbers that differ by no more than a part of
/// the larger one.
pub(super) fn nearly_same(a: &str, b: &str, part: f64) -> bool {
    let value = |text: &str| match read(text)? {
        Answer::Value { value, unit } if unit.is_empty() => Some(value),
        _ => None,
    };
    let (Some(a), Some(b)) = (value(a), value(b)) else { return false };
    let close = |a: f64, b: f64| (a - b).abs() <= part * a.abs().max(b.abs());
    a == b || a.approximate().is_some_and(|a| b.approximate().is_some_and(|b| close(a, b)))
}

impl Answer {
    fn same(&self, other: &Self) -> bool {
        use Answer::{Matrix, Ordered, Relation, Several, Union, Words};
        match (self, other) {
            (Answer::Value { value: a, unit: u }, Answer::Value { value: b, unit: v }) => same_amount((a, u), (b, v)),
            (Several(a), Several(b)) | (Union(a), Union(b)) => same_in_any_order(a, b),
            (Ordered { open, close, items }, Ordered { open: o, close: c, items: others }) => {
                (open, close) == (o, c) && same_each(items, others)
            }
            (Matrix { determinant, rows }, Matrix { determinant: d, rows: others }) => {
                determinant == d && rows.len() == others.len() && rows.iter().zip(others).all(|(a, b)| same_each(a, b))
            }
            (Relation { sides, signs, .. }, Relation { sides: others, signs: s, .. }) => {
                same_relation((sides, signs), (others, s))
            }
            (Words(a), Words(b)) => a == b,
            (Relation { sides, named: true, .. }, answer) | (answer, Relation { sides, named: true, .. }) => {
                sides.last().is_some_and(|side| side.same(answer))
            }
            (Several(one), answer) | (answer, Several(one)) => one.len() == 1 && one[0].same(answer),
            _ => false,
        }
    }
}

fn same_amount((a, unit): (&Value, &str), (b, other): (&Value, &str)) -> bool {
    let hundredth = |value: &Value| value.over(&Value::whole(100));
    match (unit, other) {
        ("%", "") => a == b || hundredth(a).is_some_and(|a| a == *b),
        ("", "%") => a == b || hundredth(b).is_some_and(|b| *a == b),
        _ => (unit.is_empty() || other.is_empty() || unit == other) && a == b,
    }
}

fn same_each(a: &[Answer], b: &[Answer]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b))
}

fn same_in_any_order(a: &[Answer], b: &[Answer]) -> bool {
    let mut left: Vec<&Answer> = b.iter().collect();
    let found = |item: &Answer| left.iter().position(|other| item.same(other)).map(|at| left.remove(at)).is_some();
    a.len() == b.len() && a.iter().all(found)
}

/// Whether relations say the same: side by side, read from right to left, or as multiples of one equation.
fn same_relation((a, signs): (&[Answer], &[char]), (b, others): (&[Answer], &[char])) -> bool {
    let turned = |sign: &char| match sign {
        '<' => '>',
        '>' => '<',
        '≤' => '≥',
        '≥' => '≤',
        sign => *sign,
    };
    let symmetric = !signs.iter().any(|sign| ['∈', ':'].contains(sign));
    let backwards = || symmetric && a.len() == b.len() && a.iter().zip(b.iter().rev()).all(|(a, b)| a.same(b));
    (signs == others && (same_each(a, b) || (signs == ['='] && same_equation(a, b))))
        || (signs.iter().copied().eq(others.iter().rev().map(turned)) && backwards())
}

fn same_equation(a: &[Answer], b: &[Answer]) -> bool {
    let difference = |sides: &[Answer]| match sides {
        [Answer::Value { value: left, .. }, Answer::Value { value: right, .. }] => left.minus(right),
        _ => None,
    };
    difference(a).is_some_and(|a| difference(b).is_some_and(|b| a.is_multiple_of(&b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(a: &str, b: &str, expected: bool) {
        assert_eq!((same(a, b), same(b, a)), (expected, expected), "{a:?} and {b:?}");
    }

    #[test]
    fn values_are_the_same_however_they_are_written() {
        for (a, b) in [
            ("\\frac{3}{4}", "0.75"),
            ("\\frac34", "3/4"),
            ("2\\frac13", "7/3"),
            ("3 1/2", "3.5"),
            ("1,234.5", "1234.5"),
            ("12\\,345\\,678", "12345678"),
            ("0.1\\overline{6}", "\\frac16"),
            ("\\sqrt{12}", "2\\sqrt3"),
            ("\\frac{1}{\\sqrt{2}-1}", "1+\\sqrt{2}"),
            ("\\sqrt[3]{-8}", "-2"),
            ("8^{2/3}", "4"),
            ("\\sqrt{-4}", "2i"),
            ("\\frac{\\pi}{2}", "0.5π"),
            ("(x+1)^2", "x^2 + 2x + 1"),
            ("\\frac{x^2-1}{x-1}", "x+1"),
            ("\\sin(2x)", "\\sin 2x"),
            ("\\sqrt{4x+4}", "2\\sqrt{1+x}"),
            ("5!", "120"),
            ("|-3|", "3"),
            ("2^{-3}", "\\frac18"),
            ("2xy", "2yx"),
            ("5 \\times 10^3", "5000"),
        ] {
            check(a, b, true);
        }
    }

    #[test]
    fn different_values_are_never_the_same() {
        for (a, b) in [
            ("\\sqrt{2}", "1.414213562373095048801688724209698"),
            ("\\pi", "3.14159265358979323846"),
            ("\\frac13", "0.3333333333333333"),
            ("10^{20}", "10^{20}+1"),
            ("-x^2", "(-x)^2"),
            ("\\sqrt{x^2}", "x"),
            ("x", "y"),
            ("1/0", "1/0"),
            ("0^0", "1"),
            ("12", "1 2"),
            ("0.5", "0,5"),
            ("\\sin x", "\\cos x"),
            ("1010_2", "1010"),
            ("on", "no"),
        ] {
            check(a, b, false);
        }
    }

    #[test]
    fn what_an_answer_is_counts() {
        for (a, b, expected) in [
            ("(1,2)", "\\left(1, 2\\right)", true),
            ("(1,2)", "(2,1)", false),
            ("(1,2)", "[1,2)", false),
            ("(1,2)", "1,2", false),
            ("1,2", "2, 1", true),
            ("1,1,2", "1,2,2", false),
            ("\\{1,2\\}", "2 \\text{ and } 1", true),
            ("\\{5\\}", "5", true),
            ("\\pm 3", "3,-3", true),
            ("\\pm 3", "3", false),
            ("[0,1]\\cup(2,3)", "(2,3)\\cup[0,1]", true),
            ("x=5", "5", true),
            ("f(x)=2x", "2x", true),
            ("x=5", "y=5", false),
            ("x+y=5", "5", false),
            ("xy=5", "5", false),
            ("2x+2y=4", "y=2-x", true),
            ("2x+2y=4", "y=2+x", false),
            ("x<5", "5>x", true),
            ("x<5", "x>5", false),
            ("3:2", "2:3", false),
            ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{bmatrix} 1 \\\\ 2 \\end{bmatrix}", true),
            ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}1&2\\end{pmatrix}", false),
            ("\\text{Monday}", "monday", true),
            ("(\\text{E})", "E", true),
            ("B", "b", false),
        ] {
            check(a, b, expected);
        }
    }

    #[test]
    fn units_count_where_both_have_one() {
        for (a, b, expected) in [
            ("5\\text{ cm}", "5", true),
            ("5\\text{ cm}^2", "5 cm^2", true),
            ("5\\,\\mathrm{cm}", "5", true),
            ("5\\text{ cm}", "5\\text{ m}", false),
            ("5\\text{ apples}", "5\\text{ apple}", true),
            ("5\\text{ dozen}", "5", false),
            ("90^\\circ", "90\\text{ degrees}", true),
            ("-\\$0.50", "-0.5", true),
            ("\\$5", "5\\text{ cents}", false),
            ("50\\%", "\\frac12", true),
            ("50\\%", "50", true),
            ("50\\%", "5", false),
        ] {
            check(a, b, expected);
        }
    }

    #[test]
    fn what_is_too_large_to_work_out_equals_nothing() {
        let deep = "(".repeat(200) + "1" + &")".repeat(200);
        for text in [
            "9^{9^{9^{9}}}",
            "(x+y+z+1)^{999}",
            "2^{1000000000000}",
            "1000!",
            "\\sqrt[999]{2}",
            "(((",
            &deep,
            &"1+".repeat(300),
        ] {
            check(text, text, false);
        }
    }

    #[test]
    fn functions_of_functions_are_worked_out_or_equal_nothing() {
        for (function, known) in
            [("\\sqrt ", 5), ("\\ln ", 5), ("sin^2 ", 5), ("√", 5), ("|x+", 3), ("x^", 9), ("2^-", 9), ("\\frac x", 9)]
        {
            let nested =
                |count: usize| function.repeat(count) + "x" + &"|".repeat(if function == "|x+" { count } else { 0 });
            check(&nested(known), &nested(known), true);
            let deep = nested(390 / function.len());
            check(&deep, &deep, false);
        }
        let factorials = format!("x{}", "!".repeat(300));
        check(&factorials, &factorials, false);
        check("\\sin(\\sqrt{2x+2})", "\\sin(\\sqrt2 \\sqrt{1+x})", true);
        check("\\sin(\\cos x)", "\\cos(\\sin x)", false);
    }

    #[test]
    fn mixed_numbers_in_one_another_do_not_take_for_ever() {
        let fractions = |close: &str| "1\\frac{".repeat(30) + "1" + &close.repeat(30);
        for text in [fractions(""), fractions("}{2}"), fractions("}{1\\frac12}")] {
            check(&text, &text, false);
        }
        check("3\\frac{1}{2}", "3.5", true);
        check("3\\frac12", "3.5", true);
        check("3\\frac{3}{2}", "4.5", true);
        check("3\\frac{x}{2}", "1.5x", true);
    }

    #[test]
    fn a_text_without_end_is_no_answer() {
        for part in ["{", "-", "(", "1", "\\frac", "\\text{", "sin ", ",", "="] {
            let text = part.repeat(100_000 / part.len());
            check(&text, &text, false);
            assert!(!nearly_same(&text, &text, 1e-3), "{part:?}");
        }
    }

    #[test]
    fn numbers_that_are_close_are_told() {
        for (a, b, close) in [
            ("\\pi", "3.1416", true),
            ("\\sqrt{2}", "1.4", false),
            ("i", "1", false),
            ("x+x", "2x", true),
            ("1,2", "1,2", false),
        ] {
            assert_eq!(nearly_same(a, b, 1e-3), close, "{a:?} and {b:?}");
        }
    }
}
