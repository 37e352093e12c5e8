//! The program in a text that may be Markdown.
//!
//! Fences are those of [CommonMark](https://spec.commonmark.org/0.31.2/#fenced-code-blocks), as loosely as models write
//! them: of backticks or tildes, indented in a list, behind words in the same line, with code before the closing fence.

use std::borrow::Cow;

/// What a fence says of its language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Python,
    Unnamed,
    Other,
}

/// The code between two fences.
#[derive(Debug)]
struct Block {
    language: Language,
    /// Whether the closing fence was reached.
    closed: bool,
    code: String,
}

/// The program that a text holds: its Python blocks that define or import something, one after the other like the cells
/// of a notebook, or all of the text where there is no such block.
///
/// Blocks that are named Python are preferred to blocks without a name, and these to blocks of other languages. A block
/// is left out as a draft when later ones define all of its names again. A block that was cut off, or that defines
/// nothing, counts only where there is no better one.
pub(crate) fn program(text: &str) -> Cow<'_, str> {
    let blocks = blocks(text);
    let defines = |block: &&Block| !defined(&block.code).is_empty();
    for language in [Language::Python, Language::Unnamed, Language::Other] {
        let (cells, cut): (Vec<_>, Vec<_>) =
            blocks.iter().filter(|block| block.language == language).partition(|block| block.closed);
        if cells.iter().any(defines) {
            return joined(&cells).into();
        }
        if let Some(block) = cut.into_iter().find(defines) {
            return block.code.as_str().to_owned().into();
        }
    }
    let mut statements = blocks.into_iter().filter(|block| block.language != Language::Other);
    statements.find(|block| !block.code.trim().is_empty()).map_or(text.into(), |block| block.code.into())
}

/// The blocks that define or import something, without drafts.
fn joined(cells: &[&Block]) -> String {
    let (mut kept, mut later) = (Vec::new(), Vec::new());
    for cell in cells.iter().rev() {
        let names = defined(&cell.code);
        let imports = cell.code.lines().any(|line| line.starts_with("import ") || line.starts_with("from "));
        let new = names.iter().any(|name| !later.contains(name));
        if new || (names.is_empty() && imports) {
            kept.push(cell.code.as_str());
        }
        later.extend(names);
    }
    kept.reverse();
    kept.concat()
}

/// The names that code defines at its top level: functions, classes and lambdas.
pub(crate) fn defined(code: &str) -> Vec<&str> {
    code.lines().filter_map(defined_name).collect()
}

/// The names of the functions that code defines at its top level, those of lambdas among them.
pub(crate) fn functions(code: &str) -> Vec<&str> {
    code.lines().filter(|line| !line.starts_with("class ")).filter_map(defined_name).collect()
}

fn defined_name(line: &str) -> Option<&str> {
    let keyword = ["def ", "async def ", "class "].iter().find_map(|keyword| line.strip_prefix(keyword));
    let rest = keyword.or_else(|| line.contains("= lambda").then_some(line))?;
    let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    (!name.is_empty() && rest.contains(['(', ':'])).then_some(name)
}

/// A line that opens a block.
struct Opening<'a> {
    mark: char,
    /// How many marks there are; the closing fence has as many or more.
    len: usize,
    language: Language,
    before: &'a str,
    /// The code, where the block is closed in the same line.
    inline: Option<&'a str>,
}

/// All blocks of a text, in order. A text that starts with code, or ends on its only fence, started within a block.
fn blocks(text: &str) -> Vec<Block> {
    let lines: Vec<&str> = text.lines().collect();
    let (mut blocks, mut rest) = (Vec::new(), &lines[..]);
    while let Some((at, opening)) = rest.iter().enumerate().find_map(|(at, line)| Some((at, opening(line)?))) {
        let code = dedented(&[&rest[..at], &[opening.before]].concat());
        rest = &rest[at + 1..];
        let is_code = !defined(&code).is_empty() || rest.iter().all(|line| line.trim().is_empty());
        let bare = opening.language == Language::Unnamed && opening.inline.is_none();
        let started_within = blocks.is_empty() && bare && is_code && !code.trim().is_empty();
        if started_within {
            blocks.push(Block { language: Language::Python, closed: true, code });
        } else if let Some(code) = opening.inline {
            blocks.push(Block { language: opening.language, closed: true, code: code.into() });
        } else {
            let (block, after) = until_closing(rest, &opening);
            blocks.push(block);
            rest = after;
        }
    }
    blocks
}

/// The block that `opening` opens, and the lines after it.
fn until_closing<'a, 'b>(lines: &'b [&'a str], opening: &Opening<'_>) -> (Block, &'b [&'a str]) {
    let language = opening.language;
    let closing = lines.iter().enumerate().find_map(|(at, line)| Some((at, before_closing(line, opening)?)));
    match closing {
        Some((at, last)) => {
            let code = dedented(&[&lines[..at], &[last]].concat());
            (Block { language, closed: true, code }, &lines[at + 1..])
        }
        None => (Block { language, closed: false, code: dedented(lines) }, &[]),
    }
}

fn opening(line: &str) -> Option<Opening<'_>> {
    let at = ["```", "~~~"].iter().filter_map(|run| line.find(run)).min()?;
    let (before, run) = line.split_at(at);
    let mark = run.chars().next()?;
    let info = run.trim_start_matches(mark);
    let (len, info) = (run.len() - info.len(), info.trim());
    let opens_line = before.chars().all(|c| c.is_ascii_digit() || " \t-*+.)".contains(c));
    if mark == '`' && info.contains('`') {
        let code = info.trim_end_matches('`');
        let inline = opens_line && info.len() - code.len() >= len && !code.contains('`');
        let (language, code) = match code.split_once(' ') {
            Some((word, code)) if language(word) == Language::Python => (Language::Python, code),
            _ => (Language::Unnamed, code),
        };
        return inline.then_some(Opening { mark, len, language, before, inline: Some(code.trim()) });
    }
    let fits = opens_line || (mark == '`' && !info.contains(' '));
    fits.then_some(Opening { mark, len, language: language(info), before, inline: None })
}

/// What `python title="f.py"`, `Py` or `{.python}` behind a fence says.
fn language(info: &str) -> Language {
    let word =
        info.trim_start_matches(['{', '.', ' ']).split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    match word.to_lowercase().as_str() {
        "" => Language::Unnamed,
        "py" | "py3" | "ipython" => Language::Python,
        word if word.starts_with("python") => Language::Python,
        _ => Language::Other,
    }
}

/// The code before the closing fence of a line that has one. A fence that is indented by four or more is code, such as
/// the text of a docstring.
fn before_closing<'a>(line: &'a str, opening: &Opening<'_>) -> Option<&'a str> {
    let line = line.trim_end();
    let before = line.trim_end_matches(opening.mark);
    let closes = match before.trim().is_empty() {
        true => before.len() <= opening.before.len() + 3,
        false => opening.mark == '`' && !before.contains('`'),
    };
    (closes && line.len() - before.len() >= opening.len).then_some(before)
}

/// Lines without the indentation that all of them share.
fn dedented(lines: &[&str]) -> String {
    let indent = |line: &&str| line.len() - line.trim_start().len();
    let shared = lines.iter().filter(|line| !line.trim().is_empty()).map(indent).min().unwrap_or(0);
    let cut = |line: &&str| line.get(shared..).unwrap_or_default().to_owned() + "\n";
    lines.iter().map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_taken_out_of_markdown() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            assert_eq!(program(text).trim_end(), expected, "{text:?}");
        }
        const F: &str = "def f(x):\n    return x";
        for (text, expected) in [
            ("", ""),
            (F, F),
            ("    return x", "    return x"),
            ("x = '`' * 2", "x = '`' * 2"),
            (&format!("```python\n{F}\n```"), F),
            (&format!("Here:\n\n```\n{F}\n```\nDone."), F),
            (&format!("```Python3\n{F}\n```"), F),
            (&format!("``` py\n{F}\n```"), F),
            (&format!("```{{.python .numberLines}}\n{F}\n```"), F),
            (&format!("```python title=\"a b.py\"\r\n{}\r\n```\r\n", F.replace('\n', "\r\n")), F),
            (&format!("~~~python\n{F}\n~~~"), F),
            (&format!("````python\n{F}\n```\n````"), &format!("{F}\n```")),
            (&format!("Sure: ```python\n{F}```"), F),
            (&format!("```python\n{F}"), F),
            (&format!("{F}\n```\nIt adds."), F),
            (&format!("{F}```"), F),
            ("    return x\n```\n", "return x"),
            (&format!("{F}\n```\nUse it:\n```python\nprint(f(1))\n```"), F),
            ("1. So:\n   ```python\n   def f(x):\n       return x\n   ```\n", F),
            ("1. ```python\n   def f(x):\n       return x\n   ```\n", F),
            ("```def f(x): return x```", "def f(x): return x"),
            ("```python def f(x): return x```", "def f(x): return x"),
            ("```python\nreturn x\n```", "return x"),
            ("```\nf = lambda x: x\n```\n```\n4\n```", "f = lambda x: x"),
            (&format!("```bash\npip install f\n```\n```python\n{F}\n```"), F),
            (&format!("```\n$ python f.py\n```\n```\n{F}\n```\n```\n4\n```"), F),
            (&format!("```code\n{F}\n```"), F),
            (&format!("```python\n{F}\n```\nUse:\n```python\nprint(f(1))\n```"), F),
            (&format!("```python\ndef f(x):\n    TODO\n```\nBetter:\n```python\n{F}\n```"), F),
            (&format!("```python\n{F}\n```\nOr:\n```python\ndef f(x):\n    ret"), F),
            (&format!("```python\nimport math\n```\n```python\n{F}\n```"), &format!("import math\n\n{F}")),
            (
                &format!("```python\ndef g(x): return x\n```\n```python\n{F}\n```"),
                &format!("def g(x): return x\n\n{F}"),
            ),
            (
                "```python\ndef f(x):\n    \"\"\"\n    ```\n    f(1)\n    ```\n    \"\"\"\n```",
                "def f(x):\n    \"\"\"\n    ```\n    f(1)\n    ```\n    \"\"\"",
            ),
        ] {
            check(text, expected);
        }
    }
}
