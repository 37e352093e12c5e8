//! Where the scalar products of a panel's rows are kept while each row meets every other.
//!
//! The rows play a round robin. Game `g` of as many `games` is played on the seats `g` and `2 games - 1 - g`, and after a round
//! the rows move ([`next_seat`]): so a unit finds what it has to turn in the same place in every round, whichever rows sit
//! there. Products are kept by seats, too. A unit has the four products of the rows of one game with those of another, and
//! units side by side have neighbouring games at the same distance, so that what they read together is in different banks of
//! shared memory, and what they write almost always.

use cubecl::prelude::*;

/// The number of pairs of games.
pub(super) const fn pairs(games: usize) -> usize {
    games * (games - 1) / 2
}

/// The place of the product of the rows of the first game; those of the others follow. Before it are the four products of
/// each pair of games.
pub(super) const fn meetings(games: usize) -> usize {
    4 * pairs(games)
}

/// The seat of a game's first or second row.
#[cube]
pub(super) fn seat(game: usize, #[comptime] is_second: bool, #[comptime] games: usize) -> usize {
    if comptime!(is_second) { comptime!(2 * games - 1) - game } else { game }
}

/// Where the row of a seat sits in the next round: the first keeps its seat, and the others move down by one, from the second
/// seat to the last. After `2 games - 1` rounds each has met all the others and is where it began.
#[cube]
pub(super) fn next_seat(seat: usize, #[comptime] games: usize) -> usize {
    let last = comptime!(2 * games - 1);
    select(seat == 0, 0usize, select(seat == 1, last, seat.max(1) - 1))
}

/// The two games of a pair, the later one first. Pair `n` is that of game `n % games` with the one that stands `n / games + 1`
/// further along a circle of games.
#[cube]
pub(super) fn games_of(pair: usize, #[comptime] games: usize) -> (usize, usize) {
    let game = pair % games;
    let other = (game + pair / games + 1) % games;
    (game.max(other), game.min(other))
}

/// The place of the product of the rows that sit on the seats `s` and `t`, which are not the same.
#[cube]
pub(super) fn place(s: usize, t: usize, #[comptime] games: usize) -> usize {
    let last = comptime!(2 * games - 1);
    let (s_game, t_game) = (s.min(last - s), t.min(last - t));
    let (later, earlier) = (s_game.max(t_game), s_game.min(t_game));
    // The circle is closed: more than half of the way around is nearer from the other side.
    let gap = later - earlier;
    let is_near = gap <= comptime!(games / 2);
    let distance = select(is_near, gap, games - gap).max(1);
    let pair = (distance - 1) * games + select(is_near, earlier, later);
    let (of_later, of_earlier) = (select(s_game == later, s, t), select(s_game == later, t, s));
    let product = select(of_later < games, 0usize, 2usize) + select(of_earlier < games, 0usize, 1usize);
    select(gap == 0, comptime!(meetings(games)) + later, product * comptime!(pairs(games)) + pair)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The rows on the seats, round after round.
    fn rounds(games: usize) -> Vec<Vec<usize>> {
        let mut rows: Vec<usize> = (0..2 * games).collect();
        let mut rounds = Vec::new();
        for _ in 1..2 * games {
            rounds.push(rows.clone());
            let mut moved = rows.clone();
            (0..2 * games).for_each(|seat| moved[next_seat(seat, games)] = rows[seat]);
            rows = moved;
        }
        assert!(rows.is_sorted(), "not where they began: {rows:?}");
        rounds
    }

    #[test]
    fn all_rows_meet_once() {
        for games in [16, 32] {
            let met: HashSet<_> = rounds(games)
                .iter()
                .flat_map(|rows| (0..games).map(|game| (rows[seat(game, false, games)], rows[seat(game, true, games)])))
                .map(|(one, two)| (one.min(two), one.max(two)))
                .collect();
            assert_eq!(met.len(), games * (2 * games - 1), "{games} games");
        }
    }

    #[test]
    fn each_product_has_a_place_of_its_own() {
        for games in [16, 32] {
            let pairs_of_seats = (0..2 * games).flat_map(|s| (0..s).map(move |t| (s, t)));
            let mut places: Vec<_> = pairs_of_seats.map(|(s, t)| place(s, t, games)).collect();
            places.sort_unstable();
            assert!(places.iter().copied().eq(0..games * (2 * games - 1)), "{games} games: {places:?}");
        }
    }

    #[test]
    fn a_unit_has_the_four_products_of_two_games() {
        for games in [16, 32] {
            for pair in 0..pairs(games) {
                let (later, earlier) = games_of(pair, games);
                let places = [(false, false), (false, true), (true, false), (true, true)]
                    .map(|(one, two)| place(seat(later, one, games), seat(earlier, two, games), games));
                assert_eq!(places, [0, 1, 2, 3].map(|product| product * pairs(games) + pair));
            }
        }
    }

    /// Only these pairs hold products of rows that meet in the next round.
    #[test]
    fn who_meets_next_is_two_games_apart_at_most() {
        for games in [16, 32] {
            for pair in 2 * games..pairs(games) {
                let (later, earlier) = games_of(pair, games);
                for (one, two) in [(false, false), (false, true), (true, false), (true, true)] {
                    let (s, t) = (seat(later, one, games), seat(earlier, two, games));
                    assert!(place(next_seat(s, games), next_seat(t, games), games) < meetings(games));
                }
            }
        }
    }
}
