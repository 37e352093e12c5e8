//! Finding the final answer in a text and comparing it with a reference.

/// The marker that GSM8K puts in front of a final answer.
const MARKER: &str = "####";

/// The text after the last `####`, trimmed.
pub fn after_marker(text: &str) -> Option<&str> {
    text.rsplit_once(MARKER).map(|(_, answer)| answer.trim())
}

/// A number as people write it: `1,234`, `-5`, `$3.50`, `7.`; nothing else around it.
pub fn parse_number(text: &str) -> Option<f64> {
    let text = text.trim().trim_start_matches('$').trim_end_matches(['.', '%']);
    let digits: String = text.chars().filter(|c| *c != ',').collect();
    let unsigned = digits.strip_prefix('-').unwrap_or(&digits);
    let plain =
        unsigned.starts_with(|c: char| c.is_ascii_digit()) && unsigned.chars().all(|c| c.is_ascii_digit() || c == '.');
    if plain { digits.parse().ok() } else { None }
}

/// All numbers in a text, in order. A minus sign counts when no word or number stands right before it.
pub fn numbers(text: &str) -> Vec<f64> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let end = number_end(bytes, at);
        let negative = at > 0 && bytes[at - 1] == b'-' && (at == 1 || !bytes[at - 2].is_ascii_alphanumeric());
        let start = if negative { at - 1 } else { at };
        found.extend(parse_number(&text[start..end]));
        at = end;
    }
    found
}

/// Where the number that starts at `at` ends: digits, and points or commas between digits.
fn number_end(bytes: &[u8], at: usize) -> usize {
    let digit = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_digit);
    let mut end = at;
    while digit(end) || (matches!(bytes.get(end), Some(b',' | b'.')) && digit(end + 1)) {
        end += 1;
    }
    end
}

/// The number right after the last `####`.
pub fn marked_number(text: &str) -> Option<f64> {
    let answer = after_marker(text)?;
    parse_number(answer.split_whitespace().next()?)
}

/// The number that a text ends on: the one after the last `####` if there is one, else the last one of all.
pub fn final_number(text: &str) -> Option<f64> {
    match after_marker(text) {
        Some(answer) => numbers(answer).first().copied(),
        None => numbers(text).last().copied(),
    }
}

/// The text after the last `answer is` or `it's`.
fn announced(text: &str) -> Option<&str> {
    let lower = text.to_ascii_lowercase();
    let after = |phrase: &str| lower.rfind(phrase).map(|at| at + phrase.len());
    let at = after("answer is").max(after("it's"))?;
    Some(text[at..].trim_start_matches([' ', ':', '(', '*']))
}

/// The letter after the last `answer is` or `it's`, in upper case.
pub fn announced_letter(text: &str) -> Option<char> {
    lone_letter(announced(text)?)
}

/// The word after the last `answer is` or `it's`, in lower case.
pub fn announced_word(text: &str) -> Option<String> {
    let word = announced(text)?.split(|c: char| !c.is_alphanumeric()).next()?;
    (!word.is_empty()).then(|| word.to_lowercase())
}

/// The letter that a text consists of or starts with, as in `B`, `B.`, `B) red`.
fn lone_letter(text: &str) -> Option<char> {
    let mut chars = text.chars();
    let letter = chars.next().filter(char::is_ascii_alphabetic)?;
    let ends = chars.next().is_none_or(|next| !next.is_alphanumeric() && next != '\'');
    ends.then(|| letter.to_ascii_uppercase())
}

/// The letter that a text chooses: after the last `####`, else after `answer is`, else the last upper-case letter that
/// stands alone.
pub fn final_letter(text: &str) -> Option<char> {
    if let Some(answer) = after_marker(text) {
        return lone_letter(answer.trim_start_matches(['(', '*']));
    }
    announced_letter(text).or_else(|| {
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '\'');
        let alone = |word: &str| word.len() == 1 && word.starts_with(|c: char| c.is_ascii_uppercase());
        words.filter(|word| alone(word)).filter_map(|word| word.chars().next()).next_back()
    })
}

/// Whether `completion` arrives at the final answer of `reference`.
///
/// The final answer of a reference is the text after its last `####`, or all of it. A number is compared as a number,
/// a single letter as a choice, anything else as text.
pub fn same_final_answer(reference: &str, completion: &str) -> bool {
    let wanted = after_marker(reference).unwrap_or(reference).trim();
    if let Some(number) = parse_number(wanted) {
        return final_number(completion) == Some(number);
    }
    let bare = wanted.trim_matches(['(', ')', '.']);
    if bare.len() == 1 && bare.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return final_letter(completion) == bare.chars().next().map(|c| c.to_ascii_uppercase());
    }
    after_marker(completion).unwrap_or(completion).trim() == wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_answers_are_compared() {
        #[track_caller]
        fn check(reference: &str, completion: &str, same: bool) {
            assert_eq!(same_final_answer(reference, completion), same, "{reference:?} against {completion:?}");
        }
        for (reference, completion, same) in [
            ("4 + 3 = 7. #### 7", "3 + 4 = 7. #### 7", true),
            ("#### 7", "#### 8\nno, #### 7", true),
            ("#### 7", "#### 7 #### 8", false),
            ("#### 7", "#### seven", false),
            ("7", "so it is 7", true),
            ("7", "7 apples and 2 pears", false),
            ("7", "", false),
            ("7", "####", false),
            ("1,234", "that makes 1234.", true),
            ("1234", "that makes $1,234.", true),
            ("#### -5", "it is -5", true),
            ("-5", "10-5", false),
            ("5", "10-5", true),
            ("-5", "5", false),
            ("0.5", "it is 0.50", true),
            ("B", "The answer is B.", true),
            ("B", "the answer is (B)", true),
            ("(b)", "#### B", true),
            ("B", "A or B? I say C", false),
            ("B", "I say B) the dog", true),
            ("B", "Because", false),
            ("A", "The answer is Anna.", false),
            ("Paris", " Paris\n", true),
            ("Paris", "so #### Paris", true),
            ("Paris", "London", false),
        ] {
            check(reference, completion, same);
        }
    }

    #[test]
    fn letters_are_announced() {
        #[track_caller]
        fn check(text: &str, letter: Option<char>) {
            assert_eq!(announced_letter(text), letter, "{text:?}");
        }
        for (text, letter) in [
            ("The dog is blue. The answer is B.", Some('B')),
            ("it's A.", Some('A')),
            ("it's A. no wait, the answer is C", Some('C')),
            ("The answer is A. no, it's b", Some('B')),
            ("The answer is A. The answer is D.", Some('D')),
            ("The answer is", None),
            ("The answer is Anna.", None),
            ("B", None),
            ("", None),
        ] {
            check(text, letter);
        }
    }

    #[test]
    fn numbers_are_marked() {
        #[track_caller]
        fn check(text: &str, number: Option<f64>) {
            assert_eq!(marked_number(text), number, "{text:?}");
        }
        for (text, number) in [
            ("4 + 3 = 7. #### 7", Some(7.0)),
            ("#### 7 apples", Some(7.0)),
            ("#### 1,000.", Some(1000.0)),
            ("#### -3", Some(-3.0)),
            ("#### 3 #### 4", Some(4.0)),
            ("7", None),
            ("####", None),
            ("#### ####", None),
            ("#### 4x", None),
        ] {
            check(text, number);
        }
    }
}
