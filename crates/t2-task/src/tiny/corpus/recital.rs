//! Lists said again: the plainest text that takes looking up.

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::tiny::problem::Wording;
use crate::tiny::reason::{Facts, Sought};
use crate::tiny::words::{ANIMALS, COLORS, FOODS, JOBS, NAMES, THINGS, pick_many};

/// A list of facts, then the same facts in another order, either way round: `Colors: cat red, dog blue.` and
/// `Colors: blue dog, cat red.`
pub fn facts(rng: &mut ChaCha8Rng) -> [String; 2] {
    let count = rng.random_range(2..=5);
    let facts = Facts::draw(rng, count);
    let wording = Wording::draw(rng);
    let mut order: Vec<_> = (0..count).map(|at| (at, Sought::draw(rng))).collect();
    order.shuffle(rng);
    [facts.all_told(wording), facts.told(wording, &order)]
}

/// Words without order or sense, three times: `cat red cups Tom` and `cat red cups Tom cat red cups Tom`. From the
/// second time on every word can be known from where the word before it stood.
pub fn sequence(rng: &mut ChaCha8Rng) -> [String; 2] {
    let count = rng.random_range(8..=16);
    let once = pick_many(rng, &words(), count).join(" ");
    let again = format!("{once} {once}");
    [once, again]
}

/// Words in pairs, as facts are told, and then some of them again, either way round: `cat Tom, red cups` and `red cups,
/// cups red, Tom cat, red cups`. Pairs are drawn with replacement, so that the second word of a pair can be known from
/// the first and from nothing else.
pub fn pairs(rng: &mut ChaCha8Rng) -> [String; 2] {
    let count = rng.random_range(2..=5);
    let words = pick_many(rng, &words(), 2 * count);
    let pairs: Vec<_> = words.chunks(2).map(|pair| pair.join(" ")).collect();
    let again: Vec<_> = (0..2 * count)
        .map(|_| {
            let pair = &words[2 * rng.random_range(0..count)..][..2];
            if rng.random_bool(0.5) { pair.join(" ") } else { format!("{} {}", pair[1], pair[0]) }
        })
        .collect();
    [pairs.join(", "), again.join(", ")]
}

/// The words that facts are made of.
fn words() -> Vec<&'static str> {
    [NAMES, THINGS, ANIMALS, COLORS, FOODS, JOBS].concat()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    /// The parts of a list, each once and with its words in alphabetical order, in alphabetical order.
    fn parts(list: &str) -> Vec<Vec<&str>> {
        let mut parts: Vec<Vec<_>> =
            list.trim_end_matches('.').split([',', ':']).map(|part| part.split_whitespace().collect()).collect();
        parts.iter_mut().for_each(|words| words.sort_unstable());
        parts.sort_unstable();
        parts.dedup();
        parts
    }

    #[test]
    fn both_times_say_the_same() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut moved = 0;
        for _ in 0..1000 {
            let [once, again] = sequence(&mut rng);
            assert_eq!(format!("{once} {once}"), again);
            let [once, again] = facts(&mut rng);
            assert_eq!(parts(&once), parts(&again));
            moved += usize::from(once != again);
            let [once, again] = pairs(&mut rng);
            assert!(parts(&again).iter().all(|pair| parts(&once).contains(pair)), "{once} | {again}");
        }
        assert!(moved > 600, "only {moved} of 1000 lists change their order");
    }
}
