//! Rust source with everything that is not code blanked out, so that a search finds code and nothing else.
//!
//! A small lexer, not a parser: it knows comments, strings, characters and lifetimes.

/// `source` without comments and without the contents of string and character literals. Every character left out
/// becomes a space and line breaks stay, so that positions still fit the source.
pub(super) fn code_only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let blanked = blanked_len(&chars, at);
        if blanked == 0 {
            // A whole word at a time, so that the `r` that ends a word opens no raw string.
            let end = at + word_len(&chars[at..]).max(1);
            code.extend(&chars[at..end]);
            at = end;
        } else {
            let end = (at + blanked).min(chars.len());
            code.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// `code` up to its unit tests, which stand last in a file.
pub(super) fn before_tests(code: &str) -> &str {
    code.find("#[cfg(test)]").map_or(code, |at| &code[..at])
}

/// The words of `code`, each with its line counted from one: `WgpuDevice` and `wgpu_device` are `wgpu` and `device`.
pub(super) fn words(code: &str) -> impl Iterator<Item = (usize, String)> + '_ {
    code.lines().enumerate().flat_map(|(number, line)| {
        let names = line.split(|c: char| !c.is_alphanumeric());
        names.flat_map(camel_words).map(move |word| (number + 1, word.to_lowercase()))
    })
}

/// `["Wgpu", "Device"]` for `WgpuDevice`. A run of capitals stays together.
fn camel_words(name: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = 0;
    let mut was_lower = false;
    for (at, c) in name.char_indices() {
        if c.is_uppercase() && was_lower {
            words.push(&name[start..at]);
            start = at;
        }
        was_lower = !c.is_uppercase();
    }
    words.push(&name[start..]);
    words.retain(|word| !word.is_empty());
    words
}

fn word_len(chars: &[char]) -> usize {
    chars.iter().take_while(|c| c.is_alphanumeric() || **c == '_').count()
}

/// How many characters from `at` on are a comment or a literal; 0 if it is code.
fn blanked_len(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    match rest {
        ['/', '/', ..] => rest.iter().take_while(|&&c| c != '\n').count(),
        ['/', '*', ..] => block_comment_len(rest),
        ['"', ..] => quoted_len(rest, '"'),
        ['b' | 'c', '"', ..] => 1 + quoted_len(&rest[1..], '"'),
        ['b', '\'', ..] => 1 + quoted_len(&rest[1..], '\''),
        ['r', '"' | '#', ..] => raw_len(rest, 1),
        ['b' | 'c', 'r', '"' | '#', ..] => raw_len(rest, 2),
        ['\'', '\\', ..] | ['\'', _, '\'', ..] => quoted_len(rest, '\''),
        _ => 0,
    }
}

/// The length of a comment `/* … */`, which may hold others.
fn block_comment_len(rest: &[char]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => depth += 1,
            ['*', '/', ..] => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of a literal that opens and closes with `quote`.
fn quoted_len(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// The length of a raw string whose prefix (`r`, `br`) has `prefix` characters; 0 for a raw identifier.
fn raw_len(rest: &[char], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|&&c| c == '#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&'"') {
        return 0;
    }
    let closes = |at: usize| rest[at] == '"' && rest[at + 1..].iter().take_while(|&&c| c == '#').count() >= hashes;
    let close = (open + 1..rest.len()).find(|&at| closes(at)).unwrap_or(rest.len());
    close + 1 + hashes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, kept: &str) {
        let code = code_only(source);
        assert_eq!(code.split_whitespace().collect::<Vec<_>>().join(" "), kept, "{source}");
        assert_eq!(code.chars().count(), source.chars().count(), "{source}");
        assert_eq!(code.lines().count(), source.lines().count(), "{source}");
    }

    #[test]
    fn only_code_is_kept() {
        check("let x = 1; // cuda", "let x = 1;");
        check("/// cuda\nfn f() {}", "fn f() {}");
        check("a /* b /* c */ d */ e", "a e");
        check(r#"f("cuda \" // x", y)"#, "f( , y)");
        check("f(r#\"a \"b\" // \"#, y)", "f( , y)");
        check("f(br\"a\", b\"b\", b'c')", "f( , , )");
        check("let r#type = 'a'; let c = '\\''; let d = '\"'; e", "let r#type = ; let c = ; let d = ; e");
        check("fn f<'a>(x: &'a str, y: &'static str) {}", "fn f<'a>(x: &'a str, y: &'static str) {}");
        check("let for_r = attr\"x\"", "let for_r = attr");
        check("/* never closed\ncuda", "");
        check("\"never closed\ncuda", "");
    }

    #[test]
    fn tests_are_cut_off() {
        assert_eq!(before_tests("fn a() {}\n#[cfg(test)]\nmod tests { cuda }"), "fn a() {}\n");
        assert_eq!(before_tests("fn a() {}"), "fn a() {}");
    }

    #[test]
    fn words_are_split_at_underscores_and_capitals() {
        let found: Vec<_> = words("WgpuDevice\nis_cuda flexible burn_flex::Flex").collect();
        let expected = [(1, "wgpu"), (1, "device"), (2, "is"), (2, "cuda"), (2, "flexible")];
        assert_eq!(found[..5], expected.map(|(line, word)| (line, word.to_owned())));
        assert_eq!(found[5..].iter().map(|(_, word)| word.as_str()).collect::<Vec<_>>(), ["burn", "flex", "flex"]);
    }
}
