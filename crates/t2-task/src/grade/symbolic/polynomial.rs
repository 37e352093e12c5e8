//! Exact values: quotients of polynomials with rational coefficients.
//!
//! A polynomial is over symbols: variables, π, and roots of whole numbers, which are powers of primes with an exponent
//! between 0 and 1 (√12 is 2·3^½). `i` is the square root of −1. A product of roots is reduced as it is made, so that
//! two values are equal when their difference has no terms. That is exact: what is called equal is equal. It is not
//! complete: a root of a sum is a symbol of its own, and √(3 + 2√2) is not seen to be 1 + √2.

use std::collections::BTreeMap;
use std::fmt;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Pow, Signed, ToPrimitive, Zero};

/// More terms than answers have; a power of a sum could have billions.
const MAX_TERMS: usize = 2_000;
/// More digits than answers have, in bits.
const MAX_BITS: u64 = 4_096;
/// The longest name of a function with its arguments. A function of itself, squared and so on, could be gigabytes.
const MAX_NAME: usize = 2_000;
/// The largest prime that is looked for in the radicand of a root. What is left counts as a prime.
const MAX_PRIME: u32 = 2_000;

/// What a polynomial is over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Symbol {
    /// A prime, or −1; its exponents are between 0 and 1.
    Prime(BigInt),
    Named(String),
}

impl fmt::Display for Symbol {
    /// A name stands behind its length, so that no two symbols and no two products of symbols look alike, whatever is in
    /// their names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prime(prime) => write!(f, "{prime}"),
            Self::Named(name) => write!(f, "{}:{name}", name.len()),
        }
    }
}

/// Exponents, which are positive.
type Monomial = BTreeMap<Symbol, BigRational>;

/// Coefficients, which are not zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Polynomial(BTreeMap<Monomial, BigRational>);

impl fmt::Display for Polynomial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (monomial, coefficient) in &self.0 {
            write!(f, "+{coefficient}")?;
            for (symbol, exponent) in monomial {
                write!(f, "*{symbol}^{exponent}")?;
            }
        }
        Ok(())
    }
}

impl Polynomial {
    fn number(value: BigRational) -> Self {
        Self::term(Monomial::new(), value)
    }

    fn term(monomial: Monomial, coefficient: BigRational) -> Self {
        let mut polynomial = Self::default();
        polynomial.add_term(monomial, coefficient);
        polynomial
    }

    fn add_term(&mut self, monomial: Monomial, coefficient: BigRational) {
        let sum = self.0.remove(&monomial).unwrap_or_else(BigRational::zero) + coefficient;
        if !sum.is_zero() {
            self.0.insert(monomial, sum);
        }
    }

    fn plus(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        for (monomial, coefficient) in &other.0 {
            sum.add_term(monomial.clone(), coefficient.clone());
        }
        sum
    }

    fn scaled(&self, factor: &BigRational) -> Self {
        Self(self.0.iter().map(|(monomial, coefficient)| (monomial.clone(), coefficient * factor)).collect())
    }

    /// `None` where the product is larger than an answer.
    fn times(&self, other: &Self) -> Option<Self> {
        if self.0.len() * other.0.len() > MAX_TERMS {
            return None;
        }
        let mut product = Self::default();
        for (a, x) in &self.0 {
            for (b, y) in &other.0 {
                let (monomial, factor) = product_of(a, b);
                product.add_term(monomial, x * y * factor);
            }
        }
        product.0.values().all(|coefficient| bits(coefficient) <= MAX_BITS).then_some(product)
    }

    fn as_number(&self) -> Option<BigRational> {
        match self.0.iter().next() {
            None => Some(BigRational::zero()),
            Some((monomial, value)) if self.0.len() == 1 && monomial.is_empty() => Some(value.clone()),
            Some(_) => None,
        }
    }

    /// The first coefficient; 0 where there is none.
    fn first(&self) -> BigRational {
        self.0.values().next().cloned().unwrap_or_else(BigRational::zero)
    }
}

fn bits(value: &BigRational) -> u64 {
    value.numer().bits().max(value.denom().bits())
}

/// The product of two monomials, and the number that whole powers of primes make of it.
fn product_of(a: &Monomial, b: &Monomial) -> (Monomial, BigRational) {
    let (mut product, mut factor) = (a.clone(), BigRational::one());
    for (symbol, exponent) in b {
        let sum = product.remove(symbol).unwrap_or_else(BigRational::zero) + exponent;
        let left = match symbol {
            Symbol::Prime(prime) if sum >= BigRational::one() => {
                factor *= BigRational::from(prime.clone());
                sum - BigRational::one()
            }
            _ => sum,
        };
        if !left.is_zero() {
            product.insert(symbol.clone(), left);
        }
    }
    (product, factor)
}

/// An exact value. The denominator is never zero.
#[derive(Clone, Debug)]
pub(super) struct Value {
    above: Polynomial,
    below: Polynomial,
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        let crossed = || Some(self.above.times(&other.below)? == other.above.times(&self.below)?);
        crossed().unwrap_or(false)
    }
}

impl Value {
    pub(super) fn number(value: BigRational) -> Self {
        Self { above: Polynomial::number(value), below: Polynomial::number(BigRational::one()) }
    }

    pub(super) fn whole(value: i64) -> Self {
        Self::number(BigRational::from(BigInt::from(value)))
    }

    /// What a name stands for: `i` the imaginary unit, any other itself.
    pub(super) fn named(name: &str) -> Self {
        let (symbol, exponent) = match name {
            "i" => (Symbol::Prime(-BigInt::one()), half()),
            name => (Symbol::Named(name.into()), BigRational::one()),
        };
        Self::symbol(symbol, exponent)
    }

    /// A function of values, as a symbol: the same one for the same values, however they are written. `None` where they
    /// are larger than an answer.
    pub(super) fn function(name: &str, arguments: &[Self]) -> Option<Self> {
        let arguments: Vec<String> = arguments.iter().map(Self::key).collect();
        let name = format!("{name}({})", arguments.join(","));
        (name.len() <= MAX_NAME).then(|| Self::named(&name))
    }

    fn symbol(symbol: Symbol, exponent: BigRational) -> Self {
        let monomial = Monomial::from([(symbol, exponent)]);
        Self { above: Polynomial::term(monomial, BigRational::one()), ..Self::whole(1) }
    }

    /// One text for each value as it is written: for values that are divided by the same polynomial.
    fn key(&self) -> String {
        let scale = self.below.first().recip();
        format!("{}/{}", self.above.scaled(&scale), self.below.scaled(&scale))
    }

    /// The number, where it is rational.
    pub(super) fn as_number(&self) -> Option<BigRational> {
        if let (Some(above), Some(below)) = (self.above.as_number(), self.below.as_number()) {
            return Some(above / below);
        }
        let ratio = self.above.first() / self.below.first();
        (self.above == self.below.scaled(&ratio)).then_some(ratio)
    }

    /// The number that this value is about, where it is real and has no variables.
    pub(super) fn approximate(&self) -> Option<f64> {
        Some(approximate(&self.above)? / approximate(&self.below)?)
    }

    pub(super) fn plus(&self, other: &Self) -> Option<Self> {
        if self.below == other.below {
            return Some(Self { above: self.above.plus(&other.above), below: self.below.clone() });
        }
        let above = self.above.times(&other.below)?.plus(&other.above.times(&self.below)?);
        Some(Self { above, below: self.below.times(&other.below)? })
    }

    pub(super) fn negated(&self) -> Self {
        Self { above: self.above.scaled(&-BigRational::one()), below: self.below.clone() }
    }

    pub(super) fn minus(&self, other: &Self) -> Option<Self> {
        self.plus(&other.negated())
    }

    pub(super) fn times(&self, other: &Self) -> Option<Self> {
        Some(Self { above: self.above.times(&other.above)?, below: self.below.times(&other.below)? })
    }

    /// `None` where `other` is zero.
    pub(super) fn over(&self, other: &Self) -> Option<Self> {
        let nonzero = !other.above.0.is_empty();
        nonzero.then(|| self.times(&Self { above: other.below.clone(), below: other.above.clone() }))?
    }

    /// Whether `other` is this value times a number that is not zero, so that both are zero at the same places.
    pub(super) fn is_multiple_of(&self, other: &Self) -> bool {
        self.over(other).is_some_and(|ratio| ratio.as_number().is_some_and(|number| !number.is_zero()))
    }

    /// `self` to the power of `exponent`. `None` where it has no value, or is larger than an answer.
    pub(super) fn power(&self, exponent: &Self) -> Option<Self> {
        let Some(number) = exponent.as_number() else {
            return Self::function("power", &[self.clone(), exponent.clone()]);
        };
        match number.is_integer() {
            true => self.whole_power(number.to_i64()?),
            false => self.root_power(&number),
        }
    }

    fn whole_power(&self, exponent: i64) -> Option<Self> {
        let base = if exponent < 0 { Self::whole(1).over(self)? } else { self.clone() };
        if exponent == 0 && self.above.0.is_empty() {
            return None;
        }
        let mut power = Self::whole(1);
        let count = exponent.unsigned_abs();
        for bit in (0..u64::BITS - count.leading_zeros()).rev() {
            power = power.times(&power)?;
            if count >> bit & 1 == 1 {
                power = power.times(&base)?;
            }
        }
        Some(power)
    }

    /// A power with a fraction for its exponent: of a number, by its primes; of a number times a value, by their powers,
    /// which holds as the number is taken to be positive; of anything else, as a symbol.
    fn root_power(&self, exponent: &BigRational) -> Option<Self> {
        if let Some(number) = self.as_number() {
            return root_of_number(&number, exponent);
        }
        let content = content(&self.above) / content(&self.below);
        let rest = self.times(&Self::number(content.recip()))?;
        let root = Self::function("root", &[rest, Self::number(exponent.clone())])?;
        root_of_number(&content, exponent)?.times(&root)
    }
}

/// The number that a polynomial is about, where it is real and has no variables.
fn approximate(polynomial: &Polynomial) -> Option<f64> {
    let base = |symbol: &Symbol| match symbol {
        Symbol::Prime(prime) => prime.to_f64().filter(|prime| *prime > 0.0),
        Symbol::Named(name) => (name == "π").then_some(std::f64::consts::PI),
    };
    let term = |(monomial, coefficient): (&Monomial, &BigRational)| {
        monomial.iter().try_fold(coefficient.to_f64()?, |product, (symbol, exponent)| {
            Some(product * base(symbol)?.powf(exponent.to_f64()?))
        })
    };
    polynomial.0.iter().map(term).sum()
}

fn half() -> BigRational {
    BigRational::new(BigInt::one(), BigInt::from(2))
}

/// The largest positive number that a polynomial is a whole multiple of.
fn content(polynomial: &Polynomial) -> BigRational {
    let mut above = BigInt::zero();
    let mut below = BigInt::one();
    for coefficient in polynomial.0.values() {
        above = divisor(above, coefficient.numer().abs());
        below = &below * coefficient.denom() / divisor(below.clone(), coefficient.denom().clone());
    }
    if above.is_zero() { BigRational::one() } else { BigRational::new(above, below) }
}

fn divisor(a: BigInt, b: BigInt) -> BigInt {
    if b.is_zero() { a } else { divisor(b.clone(), a % b) }
}

/// A power of a number. Of a negative one there are the square root, which is imaginary, and odd roots, which are real.
fn root_of_number(number: &BigRational, exponent: &BigRational) -> Option<Value> {
    if number.is_zero() {
        return exponent.is_positive().then(|| Value::whole(0));
    }
    let (above, below) = (number.numer().abs(), number.denom().clone());
    let size = root_of_whole(&above, exponent)?.over(&root_of_whole(&below, exponent)?)?;
    if number.is_positive() {
        return Some(size);
    }
    match exponent.denom().to_u32()? {
        2 => Value::symbol(Symbol::Prime(-BigInt::one()), half())
            .power(&Value::number(exponent.numer().clone().into()))?
            .times(&size),
        odd if odd % 2 == 1 => Some(if exponent.numer() % 2 == BigInt::zero() { size } else { size.negated() }),
        _ => None,
    }
}

/// A power of a positive whole number, by its primes.
fn root_of_whole(number: &BigInt, exponent: &BigRational) -> Option<Value> {
    let order = exponent.denom().to_u32().filter(|order| *order <= 64)?;
    let mut power = Value::whole(1);
    for (prime, count) in primes(number, order) {
        let exponent = exponent * BigRational::from(BigInt::from(count));
        let whole = exponent.floor();
        let part = &exponent - &whole;
        let whole = whole.to_i32().filter(|whole| u64::from(whole.unsigned_abs()) * prime.bits() <= MAX_BITS)?;
        power = power.times(&Value::number(Pow::pow(BigRational::from(prime.clone()), whole)))?;
        if !part.is_zero() {
            power = power.times(&Value::symbol(Symbol::Prime(prime), part))?;
        }
    }
    Some(power)
}

/// The primes of a positive number with their counts. What has no small primes counts as one, unless it is a power of
/// the order that is asked for.
fn primes(number: &BigInt, order: u32) -> Vec<(BigInt, u32)> {
    let (mut left, mut found) = (number.clone(), Vec::new());
    for prime in (2..=MAX_PRIME).map(BigInt::from) {
        let mut count = 0;
        while (&left % &prime).is_zero() {
            left /= &prime;
            count += 1;
        }
        if count > 0 {
            found.push((prime.clone(), count));
        }
        if &prime * &prime > left {
            break;
        }
    }
    if !left.is_one() {
        let root = left.nth_root(order);
        let is_power = Pow::pow(&root, order) == left;
        found.push(if is_power { (root, order) } else { (left, 1) });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sqrt(number: i64) -> Value {
        Value::whole(number).power(&Value::number(half())).unwrap()
    }

    #[test]
    fn roots_are_exact() {
        #[track_caller]
        fn check(a: Option<Value>, b: Option<Value>, same: bool) {
            assert_eq!(a.is_some() && a == b, same, "{a:?} and {b:?}");
        }
        let (one, two, x) = (Value::whole(1), Value::whole(2), Value::named("x"));
        let third = Value::number(BigRational::new(1.into(), 3.into()));
        check(sqrt(12).over(&two), Some(sqrt(3)), true);
        check(sqrt(2).times(&sqrt(8)), Some(Value::whole(4)), true);
        check(one.over(&sqrt(2).minus(&one).unwrap()), sqrt(2).plus(&one), true);
        check(sqrt(-4).into(), two.times(&Value::named("i")), true);
        check(sqrt(-1).times(&sqrt(-1)), Some(Value::whole(-1)), true);
        check(Value::whole(-8).power(&third), Some(Value::whole(-2)), true);
        check(Value::whole(4).power(&third).unwrap().times(&two.power(&third).unwrap()), Some(two.clone()), true);
        check(Some(sqrt(4_012_009)), Some(Value::whole(2003)), true);
        check(
            sqrt(2).into(),
            Some(Value::number(BigRational::new(1_414_213_562_373_095_i64.into(), 1_000_000_000_000_000_i64.into()))),
            false,
        );
        let square = |value: &Value| value.times(value);
        check(
            square(&x.plus(&one).unwrap()),
            square(&x).unwrap().plus(&two.times(&x).unwrap()).unwrap().plus(&one),
            true,
        );
        check(x.over(&x), Some(one.clone()), true);
        check(one.over(&Value::whole(0)), Some(one.clone()), false);
        check(Value::whole(0).power(&Value::whole(0)), Some(one), false);
        check(Value::whole(10).power(&Value::whole(1_000_000_000_000)), Some(two), false);
    }

    #[test]
    fn multiples_are_told() {
        let (x, two) = (Value::named("x"), Value::whole(2));
        assert!(two.times(&x).unwrap().is_multiple_of(&x));
        assert!(!x.times(&x).unwrap().is_multiple_of(&x));
        assert!(!Value::whole(0).is_multiple_of(&x));
    }
}
