//! Which letter of a multiple-choice question a text chooses, and which word it announces.
//!
//! A letter is easily mistaken: `a` and `A` are articles, `I` is a pronoun, other choices are mentioned to be ruled
//! out, and a text that names two letters has chosen none.

/// What a text chooses at one place: a letter, or several, which is no choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    One(char),
    Several,
}

impl Choice {
    fn letter(self) -> Option<char> {
        match self {
            Choice::One(letter) => Some(letter),
            Choice::Several => None,
        }
    }
}

/// A letter that stands alone, and what follows it.
#[derive(Clone, Copy)]
struct Lone<'a> {
    letter: char,
    rest: &'a str,
}

/// Where a letter stands, which says whether it may be an article.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// `A` may begin a sentence.
    Start,
    /// Only a small `a` may be an article.
    Within,
}

/// What may stand between an announcement and a letter.
const BEFORE: [char; 21] =
    [' ', '\t', '\r', '\n', ':', '=', '-', '–', '(', '[', '{', '<', '>', '*', '_', '`', '"', '\'', '“', '$', '（'];
/// What may stand between a letter and the text that goes on.
const AFTER: [char; 11] = [')', ']', '}', '>', '*', '_', '`', '"', '”', '$', '）'];
const LATEX: &[&str] = &["\\boxed{", "\\text{", "\\textbf{", "\\mathrm{", "\\mathbf{"];
/// Words that follow a choice, while an article or a pronoun is followed by other words.
const GOES_ON: &[&str] = &["and", "as", "because", "but", "for", "is", "not", "or", "since", "which", "with"];
/// Words between `answer` and the letter.
const FILLERS: &str = "be choice clearly correct definitely here is letter likely must obviously option probably \
                       question should the therefore this thus to was will would";
/// Phrases in front of a choice.
const CHOOSING: &[&str] =
    &["choice is", "choose", "chose", "go with", "going with", "option is", "pick", "say", "select"];
/// Conjunctions after which `it's` gives a reason and no answer.
const REASONS: &[&str] = &["as", "because", "if", "since", "that", "when", "while"];
const AFFIRMS: &[&str] = &["is correct", "is right", "is true", "is the correct", "is the right", "is the best"];
const DENIES: &[&str] = &["is wrong", "is incorrect", "is false", "is not", "isn't", "is a distractor"];

/// The letter that a text chooses, in upper case: one that is `marked`, else one that is announced, else the one that
/// the text starts with, else the last that it names.
pub(super) fn chosen<'a>(text: &'a str, mut marked: impl Iterator<Item = &'a str>) -> Option<char> {
    let choice = marked
        .find_map(|marked| choice(marked, Place::Start))
        .or_else(|| announced_choice(text))
        .or_else(|| opening_choice(text))
        .or_else(|| picked_choice(text))
        .or_else(|| named_choice(text))?;
    choice.letter()
}

/// The letter that a text announces, as in `The answer is B` and `it's (b)`, in upper case. The last announcement
/// counts.
pub fn announced_letter(text: &str) -> Option<char> {
    announced_choice(text)?.letter()
}

/// The word that a text announces after `answer is`, `answer:` or `it's`, without an article and in lower case. The
/// last announcement counts.
pub fn announced_word(text: &str) -> Option<String> {
    let mut words = words(announced(text)?).map(|(_, word)| word.to_lowercase());
    words.find(|word| !["a", "an", "the"].contains(&word.as_str()))
}

/// What follows the last `answer is`, `answer:` or `it's`.
pub(super) fn announced(text: &str) -> Option<&str> {
    announcements(text).filter_map(|(word, after)| if word == "answer" { said(after) } else { Some(after) }).last()
}

/// The letter that a reference consists of, or that it puts before the text of the choice, in upper case: `B`, `(b)`,
/// `B) the dog`.
pub(super) fn reference_letter(text: &str) -> Option<char> {
    let Lone { letter, rest } = lone(text)?;
    let alone = rest.trim_matches(AFTER).trim_matches(['.', ':', ' ']).is_empty();
    (alone || rest.starts_with(')')).then(|| letter.to_ascii_uppercase())
}

/// What follows each word `answer` and each `it's` that is no reason, with that word.
fn announcements(text: &str) -> impl Iterator<Item = (&'static str, &str)> {
    words(text).filter_map(move |(at, word)| {
        let after = &text[at + word.len()..];
        match word.to_lowercase().as_str() {
            "answer" => Some(("answer", after)),
            "it's" | "it’s" if !last_word(&text[..at]).is_some_and(|word| REASONS.contains(&&*word)) => {
                Some(("it's", after))
            }
            _ => None,
        }
    })
}

/// What follows the `is` or the colon that `after` starts with.
fn said(after: &str) -> Option<&str> {
    let after = after.trim_start_matches([' ', '*', '_']);
    let verb =
        |verb| after.strip_prefix(verb).filter(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '\''));
    after.strip_prefix(':').or_else(|| verb("is")).or_else(|| verb("was"))
}

fn announced_choice(text: &str) -> Option<Choice> {
    announcements(text).filter_map(|(_, after)| choice(without_fillers(after), Place::Within)).last()
}

/// The choice after the last word of choosing, as in `I would pick B`.
fn picked_choice(text: &str) -> Option<Choice> {
    let lower = text.to_ascii_lowercase();
    let mut picks: Vec<(usize, usize)> =
        CHOOSING.iter().flat_map(|phrase| lower.match_indices(phrase).map(|(at, _)| (at, at + phrase.len()))).collect();
    picks.sort_unstable();
    let whole_words = |&&(at, end): &&(usize, usize)| {
        !lower[..at].ends_with(char::is_alphanumeric) && !lower[end..].starts_with(char::is_alphanumeric)
    };
    let meant = picks.iter().rev().filter(whole_words).filter(|(at, _)| !is_denied(&text[..*at]));
    meant.map(|(_, end)| &text[*end..]).find_map(|after| choice(without_fillers(after), Place::Within))
}

/// The choice that a text opens with, as in `B`, `(b) red` and `B. Because`, unless it goes through the choices.
fn opening_choice(text: &str) -> Option<Choice> {
    let opening = choice(text, Place::Start)?;
    let Lone { letter, rest } = lone(text)?;
    let is_option = |line: &str| lone(line).is_some_and(|l| l.letter != letter && l.rest.starts_with([')', '.', ':']));
    let closed = rest.trim_start_matches(AFTER);
    let word = first_word(closed);
    let ends = closed.len() < rest.len()
        || !closed.starts_with(' ')
        || word.is_none_or(|word| ["as", "because", "since", "and", "or"].contains(&&*word))
        || closed.trim_start().starts_with(['-', '–', '—', '(']);
    (ends && !says_one_of(rest, DENIES) && !text.lines().skip(1).any(is_option)).then_some(opening)
}

/// The last letter that a text names in upper case, or the last that it calls correct. Letters that it rules out do not
/// count.
fn named_choice(text: &str) -> Option<Choice> {
    let (mut named, mut affirmed, mut joined) = (None, None, false);
    for (at, word) in
        words(text).filter(|(_, word)| word.len() == 1 && word.starts_with(|c: char| c.is_ascii_uppercase()))
    {
        let Some(letter) = lone(&text[at..]).filter(|letter| !letter.is_word(Place::Start)) else { continue };
        let pronoun = word == "I" && !letter.rest.starts_with(AFTER);
        if pronoun || is_denied(&text[..at]) || says_one_of(letter.rest, DENIES) {
            joined = false;
            continue;
        }
        let choice = if joined { Choice::Several } else { Choice::One(letter.letter) };
        joined = letter.is_joined();
        named = Some(choice);
        if says_one_of(letter.rest, AFFIRMS) {
            affirmed = Some(choice);
        }
    }
    affirmed.or(named)
}

/// The choice that a text starts with.
fn choice(text: &str, place: Place) -> Option<Choice> {
    let letter = lone(text).filter(|letter| !letter.is_word(place))?;
    Some(if letter.is_joined() { Choice::Several } else { Choice::One(letter.letter.to_ascii_uppercase()) })
}

/// The letter that a text starts with, if it is a word by itself: not that of `Anna`, `I'm`, `e.g.`, `C++`.
fn lone(text: &str) -> Option<Lone<'_>> {
    let mut text = text.trim_start_matches(BEFORE);
    while let Some(inner) = LATEX.iter().find_map(|command| text.strip_prefix(command)) {
        text = inner.trim_start_matches(BEFORE);
    }
    let letter = text.chars().next().filter(char::is_ascii_alphabetic)?;
    let rest = &text[1..];
    let mut following = rest.chars();
    let alone = match following.next() {
        None => true,
        Some('+' | '#') => false,
        Some('\'' | '’' | '-' | '.' | '_') => !following.next().is_some_and(char::is_alphanumeric),
        Some(next) => !next.is_alphanumeric(),
    };
    alone.then_some(Lone { letter, rest })
}

impl Lone<'_> {
    /// Whether the letter is an article or a pronoun: `a dog`, `I think`, `I, too,`.
    fn is_word(self, place: Place) -> bool {
        let possible = match self.letter {
            'a' | 'i' | 'I' => true,
            'A' => place == Place::Start,
            _ => false,
        };
        let pronoun = matches!(self.letter, 'i' | 'I') && self.rest.starts_with(',');
        let goes_on =
            self.rest.starts_with(' ') && first_word(self.rest).is_some_and(|word| !GOES_ON.contains(&&*word));
        possible && (pronoun || goes_on)
    }

    /// Whether another letter is named in the same breath: `A and B`, `A, B`, `(A)/(B)`.
    fn is_joined(self) -> bool {
        let rest = self.rest.trim_start_matches(AFTER).trim_start_matches(' ');
        let (sign, rest) = match rest.strip_prefix([',', '/', '&', '+']) {
            Some(rest) => (true, rest.trim_start_matches(' ')),
            None => (false, rest),
        };
        let word = ["and ", "or "].iter().find_map(|word| rest.strip_prefix(word));
        let Some(other) = word.or(sign.then_some(rest)).and_then(lone) else { return false };
        let own_sentence = first_word(other.rest).is_some_and(|word| ["is", "isn't", "was", "would"].contains(&&*word));
        !other.letter.eq_ignore_ascii_case(&self.letter) && !other.is_word(Place::Start) && !own_sentence
    }
}

/// The text after the words and signs that may stand between an announcement and a letter.
fn without_fillers(text: &str) -> &str {
    let mut text = text.trim_start_matches(BEFORE);
    while let Some((0, word)) = words(text).next()
        && FILLERS.split(' ').any(|filler| word.eq_ignore_ascii_case(filler))
    {
        text = text[word.len()..].trim_start_matches(BEFORE);
    }
    text
}

/// Whether `before`, what stands in front of a letter or a word of choosing, turns it into its contrary.
fn is_denied(before: &str) -> bool {
    last_word(before).is_some_and(|word| ["not", "never", "nor", "neither"].contains(&&*word) || word.ends_with("n't"))
}

/// Whether `rest`, what follows a letter, goes on with one of `phrases`.
fn says_one_of(rest: &str, phrases: &[&str]) -> bool {
    let rest = rest.trim_start_matches(AFTER).trim_start_matches(' ');
    phrases.iter().any(|phrase| rest.starts_with(phrase))
}

fn first_word(text: &str) -> Option<String> {
    words(text).next().filter(|(at, _)| text[..*at].trim().is_empty()).map(|(_, word)| word.to_lowercase())
}

fn last_word(text: &str) -> Option<String> {
    words(text).last().map(|(_, word)| word.to_lowercase().replace('’', "'"))
}

/// The words of a text and where they start. An apostrophe within a word belongs to it.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let in_word = |c: char| c.is_alphanumeric() || c == '\'' || c == '’';
    let mut at = 0;
    let pieces = text.split_inclusive(move |c| !in_word(c)).map(move |piece| {
        at += piece.len();
        let word = piece.trim_start_matches(['\'', '’']);
        (at - word.len(), word.trim_end_matches(|c: char| !c.is_alphanumeric()))
    });
    pieces.filter(|(_, word)| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

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
            ("The answer is A. no, it’s b", Some('B')),
            ("The answer is A. The answer is D.", Some('D')),
            ("The answer is B because it's a dog.", Some('B')),
            ("The answer is B because it's C that is wrong.", Some('B')),
            ("The answer is A because", Some('A')),
            ("The answer is a", Some('A')),
            ("answer: b.", Some('B')),
            ("**Answer**: (c)", Some('C')),
            ("The correct answer is therefore option \"B\".", Some('B')),
            ("The answer to this question must be B", Some('B')),
            ("The answer is \\text{B}", Some('B')),
            ("The answer is A and B.", None),
            ("The answer is either one", None),
            ("The answer is a dog.", None),
            ("The answer isn't B.", None),
            ("The answer:\nI think", None),
            ("The answer is", None),
            ("The answer is Anna.", None),
            ("The answer is C++.", None),
            ("B", None),
            ("", None),
        ] {
            check(text, letter);
        }
    }

    #[test]
    fn a_text_chooses_one_letter_or_none() {
        #[track_caller]
        fn check(text: &str, letter: Option<char>) {
            assert_eq!(chosen(text, std::iter::empty()), letter, "{text:?}");
        }
        for (text, letter) in [
            ("d", Some('D')),
            ("b) red", Some('B')),
            ("<answer>b</answer>", Some('B')),
            ("(B) red", Some('B')),
            ("**B** because A is wrong", Some('B')),
            ("B. Because A is a distractor.", Some('B')),
            ("B - A does not fit", Some('B')),
            ("I would pick B - a safe choice.", Some('B')),
            ("I would not pick A but C", Some('C')),
            ("An essay a. So C", Some('C')),
            ("A dog. So C", Some('C')),
            ("Option B. I am sure.", Some('B')),
            ("I, for one, say (D)", Some('D')),
            ("A) cat\nB) dog\nIt must be B", Some('B')),
            ("A is wrong. B fits. C is wrong", Some('B')),
            ("A is not correct, B is correct, C might be", Some('B')),
            ("It is B, not A.", Some('B')),
            ("Of A and B, B is better", Some('B')),
            ("I'd guess (I)", Some('I')),
            ("A and B", None),
            ("(A) or (B)", None),
            ("Both A, B and C are right", None),
            ("A/B", None),
            ("a dog", None),
            ("I don't know.", None),
            ("e.g. this", None),
            ("", None),
        ] {
            check(text, letter);
        }
    }

    #[test]
    fn words_are_announced() {
        #[track_caller]
        fn check(text: &str, word: Option<&str>) {
            assert_eq!(announced_word(text).as_deref(), word, "{text:?}");
        }
        for (text, word) in [
            ("it's Tom or Anna", Some("tom")),
            ("it's Anna. no, the answer is Tom", Some("tom")),
            ("The answer is the dog because it's a cat", Some("dog")),
            ("**Answer:** Blue", Some("blue")),
            ("The answer is: *blue*", Some("blue")),
            ("The answer isn't blue", None),
            ("The answer is", None),
            ("blue", None),
        ] {
            check(text, word);
        }
    }

    #[test]
    fn references_are_letters() {
        #[track_caller]
        fn check(text: &str, letter: Option<char>) {
            assert_eq!(reference_letter(text), letter, "{text:?}");
        }
        for (text, letter) in [
            ("B", Some('B')),
            ("(b)", Some('B')),
            ("**B.**", Some('B')),
            ("B) the dog", Some('B')),
            ("E. coli", None),
            ("A dog", None),
            ("A and B", None),
            ("A, B", None),
            ("Paris", None),
            ("", None),
        ] {
            check(text, letter);
        }
    }
}
