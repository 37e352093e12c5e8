//! Strings that end an answer, such as `Question:` where a model goes on to ask itself the next one.

use super::tokenizer::{TextStream, Tokenizer, TokenizerError};

/// Sees the tokens of several texts, and says which of them has come to a string that ends it.
#[derive(Debug)]
pub struct StopStrings<'a> {
    strings: &'a [String],
    texts: Vec<Text<'a>>,
}

/// A text as it arrives.
#[derive(Clone, Debug)]
struct Text<'a> {
    stream: TextStream<'a>,
    /// What may be the beginning of a string.
    tail: String,
}

impl<'a> StopStrings<'a> {
    /// Looks for `strings` in as many `texts` of `tokenizer`. An empty string ends nothing.
    pub fn new(tokenizer: &'a Tokenizer, strings: &'a [String], texts: usize) -> Self {
        let text = Text { stream: tokenizer.stream(), tail: String::new() };
        Self { strings, texts: vec![text; texts] }
    }

    /// Whether the text number `text` holds one of the strings with its next token `id`.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, text: usize, id: u32) -> Result<bool, TokenizerError> {
        if self.strings.is_empty() {
            return Ok(false);
        }
        let Text { stream, tail } = &mut self.texts[text];
        tail.push_str(&stream.push(id)?);
        if first(tail, self.strings).is_some() {
            return Ok(true);
        }
        let longest = self.strings.iter().map(String::len).max().unwrap_or(0);
        let keep = (tail.len().saturating_sub(longest)..=tail.len()).find(|&at| tail.is_char_boundary(at));
        tail.drain(..keep.unwrap_or(0));
        Ok(false)
    }
}

/// `text` up to the first of `strings` in it, all of it where it has none.
pub fn before<'t>(text: &'t str, strings: &[String]) -> &'t str {
    first(text, strings).map_or(text, |at| &text[..at])
}

fn first(text: &str, strings: &[String]) -> Option<usize> {
    strings.iter().filter(|string| !string.is_empty()).filter_map(|string| text.find(string.as_str())).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_ends_at_the_first_of_the_strings() {
        #[track_caller]
        fn check(text: &str, strings: &[&str], expected: &str) {
            let strings: Vec<String> = strings.iter().map(|&string| string.to_owned()).collect();
            assert_eq!(before(text, &strings), expected, "{text:?}");
        }
        check("4\n\nQuestion: 5?", &["Question:", "\n\n"], "4");
        check("4 Question: 5?", &["\n\n", "Question:"], "4 ");
        check("4", &["Question:"], "4");
        check("4", &["", "5"], "4");
        check("Question:", &["Question:"], "");
        check("é→é", &["→"], "é");
    }
}
