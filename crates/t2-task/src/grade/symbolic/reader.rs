//! Values of expressions: what a run of tokens comes to.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive};

use super::polynomial::Value;
use super::token::Token;

/// Brackets in brackets, roots in roots, functions of functions: more than answers have.
const MAX_DEPTH: usize = 40;
/// The largest number whose factorial is worked out.
const MAX_FACTORIAL: u32 = 100;

/// The values of an expression: one, or two where it holds `±`. `None` where it is no expression.
pub(super) fn values(tokens: &[Token]) -> Option<Vec<Value>> {
    let both = tokens.iter().any(|token| matches!(token, Token::Sign('±' | '∓')));
    let signs: &[bool] = if both { &[true, false] } else { &[true] };
    signs.iter().map(|&upper| value(tokens, upper)).collect()
}

fn value(tokens: &[Token], upper: bool) -> Option<Value> {
    let mut reader = Reader { tokens, upper, depth: 0 };
    let value = reader.sum()?;
    reader.tokens.is_empty().then_some(value)
}

struct Reader<'a> {
    /// What has not been read.
    tokens: &'a [Token],
    /// Which sign of `±` counts.
    upper: bool,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn sign(&self) -> Option<char> {
        match self.tokens.first() {
            Some(Token::Sign(sign)) => Some(*sign),
            _ => None,
        }
    }

    fn next(&mut self) -> Option<&'a Token> {
        let (next, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(next)
    }

    fn expect(&mut self, sign: char) -> Option<()> {
        (self.next()? == &Token::Sign(sign)).then_some(())
    }

    /// Whether a sign adds; `None` where it is none that does or takes away.
    fn adds(&self) -> Option<bool> {
        match self.sign()? {
            '+' => Some(true),
            '-' => Some(false),
            '±' => Some(self.upper),
            '∓' => Some(!self.upper),
            _ => None,
        }
    }

    /// What `read` reads within what is being read. `None` where it stands deeper than answers go.
    fn within(&mut self, read: impl FnOnce(&mut Self) -> Option<Value>) -> Option<Value> {
        self.depth += 1;
        let value = if self.depth > MAX_DEPTH { None } else { read(self) };
        self.depth -= 1;
        value
    }

    fn sum(&mut self) -> Option<Value> {
        self.within(|reader| {
            let mut sum = reader.signed()?;
            while let Some(adds) = reader.adds() {
                reader.next();
                let term = reader.product()?;
                sum = if adds { sum.plus(&term)? } else { sum.minus(&term)? };
            }
            Some(sum)
        })
    }

    /// A product behind any number of signs.
    fn signed(&mut self) -> Option<Value> {
        let mut positive = true;
        while let Some(adds) = self.adds() {
            self.next();
            positive ^= !adds;
        }
        let value = self.product()?;
        Some(if positive { value } else { value.negated() })
    }

    fn product(&mut self) -> Option<Value> {
        let mut product = self.power()?;
        loop {
            match self.sign() {
                Some('*') => {
                    self.next();
                    product = product.times(&self.factor()?)?;
                }
                Some('/') => {
                    self.next();
                    product = product.over(&self.factor()?)?;
                }
                _ if self.starts_factor() => product = product.times(&self.power()?)?,
                _ => return Some(product),
            }
        }
    }

    /// What may follow an operator: `2 * -3`.
    fn factor(&mut self) -> Option<Value> {
        match self.adds() {
            Some(adds) => {
                self.next();
                let value = self.power()?;
                Some(if adds { value } else { value.negated() })
            }
            None => self.power(),
        }
    }

    /// Whether the next token multiplies what stands before it. Two numbers side by side are no product.
    fn starts_factor(&self) -> bool {
        match self.tokens.first() {
            Some(Token::Name(_) | Token::Command(_)) => true,
            Some(Token::Sign(sign)) => matches!(sign, '(' | '[' | '{'),
            _ => false,
        }
    }

    fn power(&mut self) -> Option<Value> {
        let mut value = self.primary()?;
        loop {
            match self.sign() {
                Some('^') => {
                    self.next();
                    value = value.power(&self.argument()?)?;
                }
                Some('!') => {
                    self.next();
                    value = factorial(&value)?;
                }
                Some('°') => {
                    self.next();
                    value = value.times(&Value::named("°"))?;
                }
                Some('%') => {
                    self.next();
                    value = value.over(&Value::whole(100))?;
                }
                _ => return Some(value),
            }
        }
    }

    fn primary(&mut self) -> Option<Value> {
        match self.next()? {
            Token::Number(number) => self.after_number(number),
            Token::Name(name) => {
                let subscript = self.subscript()?;
                Some(Value::named(&format!("{name}{subscript}")))
            }
            Token::Command(name) => self.command(name),
            Token::Sign('(') => self.until(')'),
            Token::Sign('[') => self.until(']'),
            Token::Sign('{') => self.until('}'),
            Token::Sign('|') => self.absolute(),
            _ => None,
        }
    }

    fn until(&mut self, close: char) -> Option<Value> {
        let value = self.sum()?;
        self.expect(close)?;
        Some(value)
    }

    fn absolute(&mut self) -> Option<Value> {
        let value = self.until('|')?;
        Some(match value.as_number() {
            Some(number) => Value::number(number.abs()),
            None => Value::function("abs", &[value])?,
        })
    }

    /// A number: with the fraction of a mixed one, `3\frac{1}{2}` or `3 1/2`, or as a numeral of another base, `101_2`.
    fn after_number(&mut self, number: &BigRational) -> Option<Value> {
        let subscript = self.subscript()?;
        if !subscript.is_empty() {
            return Some(Value::named(&format!("{number}{subscript}")));
        }
        let part = match self.tokens {
            [Token::Command(name), ..] if name == "frac" && number.is_integer() => self.fraction_of_numbers(),
            [Token::Number(above), Token::Sign('/'), Token::Number(below), rest @ ..] if number.is_integer() => {
                self.tokens = rest;
                Some(above / below)
            }
            _ => None,
        };
        let proper = part.filter(|part| part.is_positive() && part < &BigRational::one());
        Some(Value::number(proper.map_or_else(|| number.clone(), |part| number + part)))
    }

    /// The value of a `\frac` of two numbers below 1, which is then read; else nothing is. It looks at no more tokens
    /// than such a fraction has: reading ahead what is then read again would take twice as long for each `\frac` within.
    fn fraction_of_numbers(&mut self) -> Option<BigRational> {
        let (above, rest) = braced_number(&self.tokens[1..])?;
        let (below, rest) = braced_number(rest)?;
        let whole = above.is_integer() && below.is_integer() && above.is_positive() && above < below;
        whole.then(|| {
            self.tokens = rest;
            above / below
        })
    }

    /// An argument of a command or an exponent: what is in braces, or one digit, name or command.
    fn argument(&mut self) -> Option<Value> {
        if let Some(Token::Number(number)) = self.tokens.first() {
            self.next();
            return Some(Value::number(number.clone()));
        }
        if let Some(adds) = self.adds() {
            self.next();
            let value = self.within(Self::argument)?;
            return Some(if adds { value } else { value.negated() });
        }
        self.within(Self::primary)
    }

    /// `_1` and `_{10}` as they stand.
    fn subscript(&mut self) -> Option<String> {
        if self.sign() != Some('_') {
            return Some(String::new());
        }
        self.next();
        let inside: &[Token] = match self.next()? {
            Token::Sign('{') => {
                let end = self.tokens.iter().position(|token| *token == Token::Sign('}'))?;
                let (inside, rest) = self.tokens.split_at(end);
                self.tokens = &rest[1..];
                inside
            }
            token => std::slice::from_ref(token),
        };
        Some(format!("_{inside:?}"))
    }

    fn command(&mut self, name: &str) -> Option<Value> {
        match name {
            "frac" => {
                let above = self.argument()?;
                above.over(&self.argument()?)
            }
            "sqrt" => {
                let order = match self.sign() {
                    Some('[') => {
                        self.next();
                        self.until(']')?
                    }
                    _ => Value::whole(2),
                };
                self.argument()?.power(&Value::whole(1).over(&order)?)
            }
            function => self.function(function),
        }
    }

    /// A function: `\sin x`, `\sin(2x)`, `\sin^2 x`, `\log_2 8`. Without brackets, its argument goes on to the next
    /// operator or function.
    fn function(&mut self, name: &str) -> Option<Value> {
        let subscript = self.subscript()?;
        let exponent = match self.sign() {
            Some('^') => {
                self.next();
                self.argument()?
            }
            _ => Value::whole(1),
        };
        let argument = match self.sign() {
            Some('(' | '{') => self.primary()?,
            _ => {
                let mut argument = self.within(Self::power)?;
                while self.starts_factor()
                    && !matches!(self.tokens.first(), Some(Token::Command(name)) if name != "frac")
                {
                    argument = argument.times(&self.power()?)?;
                }
                argument
            }
        };
        Value::function(&format!("{name}{subscript}"), &[argument])?.power(&exponent)
    }
}

/// The number that tokens start with, in braces or not, and what follows it.
fn braced_number(tokens: &[Token]) -> Option<(&BigRational, &[Token])> {
    match tokens {
        [Token::Number(number), rest @ ..] | [Token::Sign('{'), Token::Number(number), Token::Sign('}'), rest @ ..] => {
            Some((number, rest))
        }
        _ => None,
    }
}

fn factorial(value: &Value) -> Option<Value> {
    let number = value.as_number();
    let Some(number) = number.filter(BigRational::is_integer).and_then(|number| number.to_u32()) else {
        return Value::function("factorial", std::slice::from_ref(value));
    };
    (number <= MAX_FACTORIAL)
        .then(|| Value::number(BigRational::from((1..=number).map(BigInt::from).product::<BigInt>())))
}
