//! The words that problems and stories are made of, and how a sentence is put together from them.

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

/// People: name, subject pronoun, object pronoun.
pub(crate) const PEOPLE: &[(&str, &str, &str)] = &[
    ("Tom", "he", "him"),
    ("Ben", "he", "him"),
    ("Sam", "he", "him"),
    ("Max", "he", "him"),
    ("Leo", "he", "him"),
    ("Dan", "he", "him"),
    ("Anna", "she", "her"),
    ("Mia", "she", "her"),
    ("Lily", "she", "her"),
    ("Sara", "she", "her"),
    ("Eva", "she", "her"),
    ("Kate", "she", "her"),
];
pub(crate) const NAMES: &[&str] =
    &["Tom", "Ben", "Sam", "Max", "Leo", "Dan", "Anna", "Mia", "Lily", "Sara", "Eva", "Kate"];
/// Things to count.
pub(crate) const THINGS: &[&str] =
    &["apples", "books", "balls", "pens", "cards", "coins", "eggs", "toys", "cups", "nuts", "hats", "keys"];
pub(crate) const ANIMALS: &[&str] = &["cat", "dog", "bird", "horse", "cow", "duck", "frog", "mouse", "pig", "bear"];
pub(crate) const COLORS: &[&str] = &["red", "blue", "green", "black", "white", "brown", "pink", "yellow"];
pub(crate) const PLACES: &[&str] =
    &["kitchen", "garden", "park", "school", "shop", "house", "forest", "car", "street", "room"];
pub(crate) const FOODS: &[&str] =
    &["fish", "bread", "cake", "rice", "corn", "soup", "grass", "cheese", "milk", "fruit"];
pub(crate) const OBJECTS: &[&str] = &["ball", "cup", "book", "hat", "key", "pen", "box", "toy", "coin", "map"];
pub(crate) const JOBS: &[&str] = &["baker", "farmer", "teacher", "doctor", "singer", "cook", "driver", "painter"];

/// One of `from`.
pub(crate) fn pick<T: Copy>(rng: &mut ChaCha8Rng, from: &[T]) -> T {
    *from.choose(rng).expect("word lists are not empty")
}

/// `n` different ones of `from`, in random order.
pub(crate) fn pick_many<T: Copy>(rng: &mut ChaCha8Rng, from: &[T], n: usize) -> Vec<T> {
    let mut all = from.to_vec();
    all.shuffle(rng);
    all.truncate(n);
    all
}

/// True with probability `p`.
pub(crate) fn chance(rng: &mut ChaCha8Rng, p: f64) -> bool {
    rng.random_bool(p)
}

/// `template` with every `{slot}` replaced.
///
/// # Panics
///
/// Where a slot has no value: a template is part of the program.
pub(crate) fn fill(template: &str, slots: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (slot, after) = after.split_once('}').expect("every slot of a template ends");
        let value = slots.iter().find(|(name, _)| *name == slot);
        let Some((_, value)) = value else { unreachable!("slot `{slot}` of `{template}` has no value") };
        text.push_str(before);
        text.push_str(value);
        rest = after;
    }
    text.push_str(rest);
    text
}

/// `text` with its first letter in upper case.
pub(crate) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// `a, b and c`.
pub(crate) fn listed(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_filled() {
        assert_eq!(fill("{a} has {b}.", &[("a", "Tom"), ("b", "4")]), "Tom has 4.");
        assert_eq!(capital("he"), "He");
        assert_eq!(listed(&["a".into(), "b".into(), "c".into()]), "a, b and c");
    }

    #[test]
    fn names_are_those_of_the_people() {
        assert!(PEOPLE.iter().map(|(name, ..)| name).eq(NAMES));
    }
}
