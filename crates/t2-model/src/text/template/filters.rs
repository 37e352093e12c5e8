//! Jinja's filters and tests, as far as minijinja lacks them or has others of the same name.

use std::borrow::Cow;

use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};

use super::budget::check_text;
use super::format::{Marks, check_format};
use super::methods::{justify, optional, question, shown, strip};
use super::python::{bind, is_space, lines, padding, refuse, repr, text};
use super::{json, slice};

/// Add the filters and tests of this file to `env`, in place of minijinja's.
pub(super) fn add(env: &mut Environment<'_>) {
    env.add_filter("tojson", json::tojson);
    env.add_filter("string", |value: &Value| text(value).map(Cow::into_owned));
    env.add_filter("pprint", repr);
    for name in ["e", "escape", "forceescape"] {
        env.add_filter(name, escape);
    }
    env.add_filter("title", title);
    env.add_filter("trim", trim);
    env.add_filter("center", center);
    env.add_filter("indent", indent);
    env.add_filter("truncate", truncate);
    env.add_filter("replace", replace);
    env.add_filter("wordcount", wordcount);
    env.add_filter("urlencode", urlencode);
    env.add_filter("format", format);
    env.add_filter("join", join);
    env.add_filter("length", length);
    env.add_filter("count", length);
    env.add_filter("first", first);
    env.add_filter("items", items);
    env.add_filter("int", int);
    env.add_filter("float", float);
    env.add_filter("round", round);
    env.add_filter(slice::FILTER, slice::slice);

    env.add_test("divisibleby", divisibleby);
    env.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
    env.add_test("number", |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool));
    env.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
    env.add_test("sequence", |value: &Value| value.len().is_some() || value.is_undefined());
    env.add_test("lower", |value: &Value| text(value).map(|text| question(&text, "islower") == Some(true)));
    env.add_test("upper", |value: &Value| text(value).map(|text| question(&text, "isupper") == Some(true)));
}

/// A remainder by zero is an error as in Python, where minijinja panics.
fn divisibleby(value: &Value, by: &Value) -> Result<bool, Error> {
    let whole = |value: &Value| i128::try_from(value.clone()).ok();
    if let (Some(value), Some(by)) = (whole(value), whole(by)) {
        return match by {
            0 => Err(refuse("nothing is divisible by 0")),
            // Which the smallest of all numbers cannot be divided by without an overflow.
            -1 => Ok(true),
            by => Ok(value % by == 0),
        };
    }
    match (f64::try_from(value.clone()), f64::try_from(by.clone())) {
        (Ok(_), Ok(0.0)) => Err(refuse("nothing is divisible by 0")),
        (Ok(value), Ok(by)) => Ok(value % by == 0.0),
        _ => Err(refuse(format!("whether a value that is {} is divisible by one that is {}", value.kind(), by.kind()))),
    }
}

fn escape(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    for c in text(value)?.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            _ => out.push(c),
        }
    }
    Ok(out)
}

/// `value | title`: a capital at the start of each word. Unlike for `str.title()`, words end only at white space, `-`
/// and opening brackets.
fn title(value: &Value) -> Result<String, Error> {
    let mut inside = false;
    let value = text(value)?;
    let letters = value.chars().map(|c| {
        let ends_word = is_space(c) || "-({[<".contains(c);
        let cased: String = if inside { c.to_lowercase().collect() } else { c.to_uppercase().collect() };
        inside = !ends_word;
        cased
    });
    Ok(letters.collect())
}

fn trim(value: &Value, args: Rest<Value>) -> Result<String, Error> {
    let [chars] = bind(&args, ["chars"])?;
    Ok(strip(&text(value)?, optional(&chars)?, true, true).to_owned())
}

fn center(value: &Value, args: Rest<Value>) -> Result<String, Error> {
    let [width] = bind(&args, ["width"])?;
    justify(&text(value)?, "center", integer(width, 80)?, " ")
}

fn indent(value: &Value, args: Rest<Value>) -> Result<String, Error> {
    let [width, first, blank] = bind(&args, ["width", "first", "blank"])?;
    let is_true = |flag: Option<Value>| flag.is_some_and(|flag| flag.is_true());
    let indent = match width.as_ref().and_then(Value::as_str) {
        Some(indent) => indent.to_owned(),
        None => padding(" ", usize::try_from(integer(width, 4)?).unwrap_or(0))?,
    };
    let blank = is_true(blank);
    let source = text(value)? + "\n";
    let mut out = if is_true(first) { indent.clone() } else { String::new() };
    for (index, line) in lines(&source, false).into_iter().enumerate() {
        check_text(out.len())?;
        if index > 0 {
            out.push('\n');
            out.push_str(if blank || !line.is_empty() { &indent } else { "" });
        }
        out.push_str(line);
    }
    Ok(out)
}

/// `value | truncate(length, killwords, end, leeway)`: a text longer than `length + leeway` is cut to `length`, `end`
/// included, after a whole word unless `killwords` is set.
fn truncate(value: &Value, args: Rest<Value>) -> Result<String, Error> {
    let [length, kill_words, end, leeway] = bind(&args, ["length", "killwords", "end", "leeway"])?;
    let (source, end) = (text(value)?, optional(&end)?.unwrap_or("..."));
    let (length, leeway) = (integer(length, 255)?, integer(leeway, 5)?);
    let size = |text: &str| i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    if length < size(end) {
        return Err(refuse(format!("truncate needs a length of at least {}, not {length}", size(end))));
    }
    if size(&source) <= length.saturating_add(leeway) {
        return Ok(source.into_owned());
    }
    let kept: String = source.chars().take(usize::try_from(length - size(end)).unwrap_or(0)).collect();
    let whole = if kill_words.is_some_and(|kill| kill.is_true()) { None } else { kept.rsplit_once(' ') };
    Ok(whole.map_or(kept.as_str(), |(words, _)| words).to_owned() + end)
}

fn replace(value: &Value, args: Rest<Value>) -> Result<String, Error> {
    let [old, new, count] = bind(&args, ["old", "new", "count"])?;
    let (Some(old), Some(new)) = (old, new) else { return Err(ErrorKind::MissingArgument.into()) };
    let count = count.filter(|count| !count.is_none()).map(i64::try_from).transpose()?;
    replaced(&text(value)?, &text(&old)?, &text(&new)?, count)
}

/// `value.replace(old, new, count)`; a negative count is all of them.
pub(super) fn replaced(value: &str, old: &str, new: &str, count: Option<i64>) -> Result<String, Error> {
    let most = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    let found = value.matches(old).take(most).count();
    check_text(found.saturating_mul(new.len()).saturating_add(value.len() - found * old.len()))?;
    Ok(value.replacen(old, new, most))
}

fn wordcount(value: &Value) -> Result<usize, Error> {
    let text = text(value)?;
    Ok(text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).count())
}

fn urlencode(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    for &byte in text(value)?.as_bytes() {
        match byte {
            b'/' | b'_' | b'.' | b'-' | b'~' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    Ok(out)
}

fn format(state: &State<'_, '_>, value: &Value, args: Rest<Value>) -> Result<Value, Error> {
    check_format(&text(value)?, Marks::Percent, &args)?;
    minijinja::filters::format(state, value, Rest(args.0.into_iter().map(shown).collect()))
}

fn join(state: &State<'_, '_>, value: &Value, args: Rest<Value>) -> Result<String, Error> {
    let [between, attribute] = bind(&args, ["d", "attribute"])?;
    let values = match attribute.filter(|attribute| !attribute.is_none()) {
        Some(attribute) => {
            let named = Kwargs::from_iter([("attribute", attribute)]);
            state.apply_filter("map", &[value.clone(), named.into()])?
        }
        None => value.clone(),
    };
    joined(&text(&between.unwrap_or_default())?, &values)
}

/// The texts of `values`, and `between` them.
pub(super) fn joined(between: &str, values: &Value) -> Result<String, Error> {
    let mut out = String::new();
    for (index, item) in values.try_iter()?.enumerate() {
        let item = text(&item)?;
        check_text(out.len().saturating_add(between.len()).saturating_add(item.len()))?;
        out.push_str(if index > 0 { between } else { "" });
        out.push_str(&item);
    }
    Ok(out)
}

fn length(value: &Value) -> Result<usize, Error> {
    match value.len() {
        Some(length) => Ok(length),
        None if value.is_undefined() => Ok(0),
        None => Err(refuse(format!("a value that is {} has no length", value.kind()))),
    }
}

fn first(value: &Value) -> Result<Value, Error> {
    Ok(value.try_iter()?.next().unwrap_or_default())
}

fn items(value: &Value) -> Result<Value, Error> {
    if value.is_undefined() { Ok(Value::from(Vec::<Value>::new())) } else { minijinja::filters::items(value) }
}

fn int(value: &Value, args: Rest<Value>) -> Result<Value, Error> {
    let [default, base] = bind(&args, ["default", "base"])?;
    let base = u32::try_from(integer(base, 10)?).ok().filter(|base| (2..=36).contains(base));
    let base = base.ok_or_else(|| refuse("the base of int is 2 to 36"))?;
    let whole = match value.as_str() {
        Some(text) => i128::from_str_radix(&strip(text, None, true, true).replace('_', ""), base).ok(),
        None if value.is_integer() || value.kind() == ValueKind::Bool => i128::try_from(value.clone()).ok(),
        None => None,
    };
    let cut = || as_float(value).filter(|x| x.is_finite()).map(|x| x as i128);
    Ok(whole.or_else(cut).map_or(default.unwrap_or(Value::from(0)), Value::from))
}

fn float(value: &Value, args: Rest<Value>) -> Result<Value, Error> {
    let [default] = bind(&args, ["default"])?;
    Ok(as_float(value).map_or(default.unwrap_or(Value::from(0.0)), Value::from))
}

/// `value | round(precision, method)`. A number halfway between two goes to the even one, as in Python.
fn round(value: &Value, args: Rest<Value>) -> Result<Value, Error> {
    let [precision, method] = bind(&args, ["precision", "method"])?;
    let precision = integer(precision, 0)?.clamp(-400, 400);
    let method = optional(&method)?.unwrap_or("common");
    let x = match as_float(value) {
        Some(_) if method == "common" && value.is_integer() && precision >= 0 => return Ok(value.clone()),
        Some(x) if value.as_str().is_none() => x,
        _ => return Err(refuse(format!("cannot round a value that is {}", value.kind()))),
    };
    let scale = 10_f64.powi(i32::try_from(precision).unwrap_or(0));
    let rounded = match method {
        "common" if precision < 0 => (x * scale).round_ties_even() / scale,
        // The digits are those of the exact value: 2.675 is a little less than its name says.
        "common" => format!("{x:.*}", usize::try_from(precision).unwrap_or(0)).parse().unwrap_or(x),
        "ceil" => (x * scale).ceil() / scale,
        "floor" => (x * scale).floor() / scale,
        other => return Err(refuse(format!("round knows common, ceil and floor, not {other:?}"))),
    };
    Ok(rounded.into())
}

fn as_float(value: &Value) -> Option<f64> {
    match value.as_str() {
        Some(text) => strip(text, None, true, true).replace('_', "").parse().ok(),
        None => f64::try_from(value.clone()).ok(),
    }
}

fn integer(argument: Option<Value>, default: i64) -> Result<i64, Error> {
    argument.map_or(Ok(default), i64::try_from)
}
