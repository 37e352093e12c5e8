//! Numbers by matrix and block as a map of shades: one row for each matrix, one column for each block.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Shades from nothing to the largest number; they read without color too.
const SHADES: [char; 5] = ['·', '░', '▒', '▓', '█'];
/// Colors of the shades among the 256 of a terminal: from gray by yellow to red.
const COLORS: [u8; 5] = [240, 229, 221, 208, 196];
/// Most blocks that are drawn two columns wide.
const WIDE: usize = 36;
/// Blocks from one number above the map to the next.
const TICK: usize = 5;

/// A map of `values`, by matrix and block, none of them negative. `about` says what they are.
pub(crate) fn heat_map(about: &str, values: &BTreeMap<(String, usize), f64>, color: bool) -> String {
    let blocks = values.keys().map(|(_, block)| block + 1).max().unwrap_or(0);
    let max = values.values().copied().fold(0.0, f64::max);
    let mut matrices: Vec<&str> = values.keys().map(|(matrix, _)| matrix.as_str()).collect();
    matrices.dedup();
    let label = matrices.iter().map(|matrix| matrix.chars().count()).max().unwrap_or(0).max("block".len());
    let width = if blocks <= WIDE { 2 } else { 1 };
    let mut map = format!("{:<label$}  {}", "block", ticks(blocks, width));
    for matrix in matrices {
        let row: String = (0..blocks)
            .map(|block| match values.get(&(matrix.to_owned(), block)) {
                Some(&value) => cell(shade(value, max), width, color),
                None => " ".repeat(width),
            })
            .collect();
        let _ = write!(map, "\n{matrix:<label$}  {}", row.trim_end());
    }
    let legend = (0..SHADES.len()).map(|level| {
        let upper = max * level as f64 / (SHADES.len() - 1) as f64;
        format!("{} {upper:.4}", cell(level, 1, color))
    });
    let _ = write!(map, "\n{about}: {}", legend.collect::<Vec<_>>().join("  "));
    map
}

/// The numbers of every few blocks, above their columns.
fn ticks(blocks: usize, width: usize) -> String {
    let tick = |block: usize| format!("{block:<space$}", space = TICK * width);
    (0..blocks).step_by(TICK).map(tick).collect::<String>().trim_end().to_owned()
}

/// The shade nearest to `value`; only what is zero has the first.
fn shade(value: f64, max: f64) -> usize {
    if value <= 0.0 || max <= 0.0 {
        return 0;
    }
    let top = SHADES.len() - 1;
    ((value / max * top as f64).round() as usize).clamp(1, top)
}

fn cell(level: usize, width: usize, color: bool) -> String {
    let shade = SHADES[level].to_string().repeat(width);
    if color { format!("\u{1b}[38;5;{}m{shade}\u{1b}[0m", COLORS[level]) } else { shade }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> BTreeMap<(String, usize), f64> {
        let at = |matrix: &str, block, value| ((matrix.to_owned(), block), value);
        BTreeMap::from([at("attn.q", 0, 0.0), at("attn.q", 6, 1.0), at("mlp.up", 0, 0.001), at("mlp.up", 1, 0.5)])
    }

    #[test]
    fn shades_grow_with_the_numbers() {
        let map = heat_map("rms", &values(), false);
        let lines: Vec<&str> = map.lines().collect();
        assert_eq!(lines[0], "block   0         5");
        assert_eq!(lines[1], "attn.q  ··          ██");
        assert_eq!(lines[2], "mlp.up  ░░▒▒");
        assert_eq!(lines[3], "rms: · 0.0000  ░ 0.2500  ▒ 0.5000  ▓ 0.7500  █ 1.0000");
    }

    #[test]
    fn colors_are_added_to_shades() {
        let map = heat_map("rms", &values(), true);
        assert!(map.contains("\u{1b}[38;5;196m██\u{1b}[0m"), "{map}");
    }

    #[test]
    fn many_blocks_are_drawn_narrow() {
        let many = (0..80).map(|block| (("mlp.up".to_owned(), block), 1.0)).collect();
        let map = heat_map("rms", &many, false);
        assert_eq!(map.lines().nth(1).unwrap(), format!("mlp.up  {}", "█".repeat(80)));
    }
}
