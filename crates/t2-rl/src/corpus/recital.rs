//! Lists said twice, the second time in another order: the plainest text that takes looking up.

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::tasks::problem::Wording;
use crate::tasks::reason::Facts;
use crate::tasks::words::{ANIMALS, COLORS, FOODS, JOBS, NAMES, OBJECTS, PLACES, THINGS, chance, pick_many};

/// Facts: `The cat is red. The dog is blue.` and `The dog is blue. The cat is red.`
pub fn facts(rng: &mut ChaCha8Rng) -> [String; 2] {
    let count = rng.random_range(2..=5);
    let facts = Facts::draw(rng, count);
    let wording = Wording::draw(rng);
    let mut order: Vec<_> = (0..count).collect();
    let once = facts.told(wording, &order);
    order.shuffle(rng);
    [once, facts.told(wording, &order)]
}

/// Words in pairs: `cat Tom, red cup` and `red cup, cat Tom`: only the second word of a pair can be known.
pub fn pairs(rng: &mut ChaCha8Rng) -> [String; 2] {
    let all = [NAMES, THINGS, ANIMALS, COLORS, FOODS, JOBS, OBJECTS, PLACES].concat();
    let count = rng.random_range(3..=8);
    let words = pick_many(rng, &all, 2 * count);
    let mut pairs: Vec<_> = words.chunks(2).map(|pair| pair.join(" ")).collect();
    let once = pairs.join(", ");
    if chance(rng, 0.5) {
        pairs.shuffle(rng);
    }
    [once, pairs.join(", ")]
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn both_times_say_the_same() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut moved = 0;
        for at in 0..1000 {
            let both = if at % 2 == 0 { facts(&mut rng) } else { pairs(&mut rng) };
            let [once, again] = both.each_ref().map(|text| {
                let mut parts: Vec<_> = text.trim_end_matches('.').split([',', '.']).map(str::trim).collect();
                parts.sort_unstable();
                parts
            });
            assert_eq!(once, again);
            moved += usize::from(both[0] != both[1]);
        }
        assert!(moved > 500, "only {moved} of 1000 lists change their order");
    }
}
