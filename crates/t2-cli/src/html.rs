//! Self-contained HTML pages: text, tables and plots in one file, without scripts or downloads.
//!
//! A [`Page`] reads well on a phone, on a wide screen and on paper, and follows the light or dark preference of the
//! reader.

use std::fmt::Write;

const STYLE: &str = include_str!("html/style.css");

/// A page under construction; every text is escaped.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    title: String,
    body: String,
}

/// A plot with its caption.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    /// What is seen, in a few words.
    pub(crate) title: String,
    /// What the reader has to know to understand the picture, or nothing.
    pub(crate) note: String,
    /// The picture, from a function of `plot`.
    pub(crate) svg: String,
}

/// Rows under a header. The first cell of a row names it; columns that hold only numbers are flush right.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// What the rows show.
    pub(crate) caption: String,
    /// One name per column.
    pub(crate) header: Vec<String>,
    /// As many cells as the header has.
    pub(crate) rows: Vec<Vec<String>>,
}

/// A number that the reader should see first.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fact {
    /// What it is.
    pub(crate) label: String,
    /// The number, with its unit.
    pub(crate) value: String,
    /// What the number is compared with or averaged over, or nothing.
    pub(crate) note: String,
}

impl Page {
    pub(crate) fn new(title: &str) -> Self {
        Self { title: escape(title), body: String::new() }
    }

    /// Open a section.
    pub(crate) fn heading(&mut self, text: &str) {
        self.push(&format!("<h2>{}</h2>", escape(text)));
    }

    /// A paragraph.
    pub(crate) fn paragraph(&mut self, text: &str) {
        self.push(&format!("<p>{}</p>", escape(text)));
    }

    /// Texts under their names. Their line breaks and spaces count, as in a prompt or an answer.
    pub(crate) fn texts(&mut self, texts: &[(&str, &str)]) {
        let item =
            |(name, text): &(&str, &str)| format!("<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(text));
        self.push(&format!("<dl class=\"texts\">{}</dl>", texts.iter().map(item).collect::<String>()));
    }

    /// Numbers in large letters, side by side.
    pub(crate) fn facts(&mut self, facts: &[Fact]) {
        let item = |fact: &Fact| {
            let [label, value, note] = [&fact.label, &fact.value, &fact.note].map(|text| escape(text));
            format!("<div><dt>{label}</dt><dd>{value}</dd><dd class=\"note\">{note}</dd></div>")
        };
        self.push(&format!("<dl class=\"facts\">{}</dl>", facts.iter().map(item).collect::<String>()));
    }

    /// Figures side by side as far as the screen is wide.
    pub(crate) fn figures(&mut self, figures: &[Figure]) {
        self.push(&format!("<div class=\"figures\">{}</div>", figures.iter().map(Figure::html).collect::<String>()));
    }

    /// A figure beside the table of its numbers, or above it where the screen is narrow.
    pub(crate) fn figure_and_table(&mut self, figure: &Figure, table: &Table) {
        self.push(&format!("<div class=\"beside\">{}{}</div>", figure.html(), table.html()));
    }

    /// A table across the page.
    pub(crate) fn table(&mut self, table: &Table) {
        self.push(&table.html());
    }

    /// The whole document.
    pub(crate) fn finish(self) -> String {
        let Self { title, body } = self;
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
             <meta name=\"color-scheme\" content=\"light dark\"/>\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n\
             <body>\n<main>\n<h1>{title}</h1>\n{body}</main>\n</body>\n</html>\n"
        )
    }

    fn push(&mut self, html: &str) {
        self.body.push_str(html);
        self.body.push('\n');
    }
}

impl Figure {
    fn html(&self) -> String {
        let Self { title, note, svg } = self;
        let (title, note) = (escape(title), escape(note));
        format!("<figure><figcaption><b>{title}</b> <span>{note}</span></figcaption>{svg}</figure>\n")
    }
}

impl Table {
    fn html(&self) -> String {
        let numeric = |column: usize| column > 0 && self.rows.iter().all(|row| is_number(&row[column]));
        let class = |column| if numeric(column) { " class=\"number\"" } else { "" };
        let caption = escape(&self.caption);
        // What scrolls can be reached by the keyboard.
        let mut html = format!(
            "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{caption}\">\
             <table>\n<caption>{caption}</caption>\n<thead><tr>"
        );
        // Writing to a string cannot fail.
        for (column, cell) in self.header.iter().enumerate() {
            let _ = write!(html, "<th scope=\"col\"{}>{}</th>", class(column), escape(cell));
        }
        html.push_str("</tr></thead>\n<tbody>\n");
        for row in &self.rows {
            html.push_str("<tr>");
            for (column, cell) in row.iter().enumerate() {
                let cell = escape(cell);
                let _ = match column {
                    0 => write!(html, "<th scope=\"row\">{cell}</th>"),
                    _ => write!(html, "<td{}>{cell}</td>", class(column)),
                };
            }
            html.push_str("</tr>\n");
        }
        html + "</tbody>\n</table></div>\n"
    }
}

/// `text` for the inside of elements and attributes. Characters that XML does not allow become `\u{fffd}`.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push(char::REPLACEMENT_CHARACTER),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Whether `cell` is a number, an interval, or what stands for a missing one: a dash or nothing.
fn is_number(cell: &str) -> bool {
    !cell.starts_with([' ', '.', ',', '%', '×'])
        && cell.chars().all(|c| c.is_ascii_digit() || " .,%±+-−–×⁻⁰¹²³⁴⁵⁶⁷⁸⁹".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(header: &[&str], rows: &[&[&str]]) -> Table {
        let owned = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        Table { caption: "<caption>".into(), header: owned(header), rows: rows.iter().map(|row| owned(row)).collect() }
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("<a href='x'>&\"\u{7}"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;\u{fffd}");
        let mut page = Page::new("</title><script>");
        page.heading("<b>");
        page.paragraph("a < b");
        page.texts(&[("<dt>", "<dd>")]);
        page.facts(&[Fact { label: "<dt>".into(), value: "<dd>".into(), note: "<i>".into() }]);
        page.table(&table(&["<th>", "n"], &[&["<td>", "1"]]));
        let html = page.finish();
        for raw in ["<script>", "<b>", "a < b", "<th>", "<td>", "<dt><dt>", "<dd><dd>", "<i>", "<caption><caption>"] {
            assert!(!html.contains(raw), "{raw}");
        }
    }

    #[track_caller]
    fn check_column(cells: &[&str], flush_right: bool) {
        let rows: Vec<_> = cells.iter().map(|cell| ["name", *cell]).collect();
        let rows: Vec<&[&str]> = rows.iter().map(|row| &row[..]).collect();
        let html = table(&["a", "b"], &rows).html();
        assert_eq!(html.matches("class=\"number\"").count(), if flush_right { cells.len() + 1 } else { 0 }, "{html}");
    }

    #[test]
    fn columns_of_numbers_are_flush_right_with_their_header() {
        check_column(&["41.5 ± 0.2", "–", "", "−1,250", "1.2×10⁻⁵", "67.1–72.8 %"], true);
        check_column(&["12", "math"], false);
        check_column(&["12345678", "0a345678"], false);
        check_column(&["%"], false);
    }

    /// A colour of the style as luminance, by the formula of the Web Content Accessibility Guidelines.
    fn luminance(hex: &str) -> f64 {
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
    }

    #[track_caller]
    fn check_contrast(scheme: &str, color: &str, ground: &str, least: f64) {
        let value = |name: &str| {
            let start = scheme.find(&format!("--{name}: #")).unwrap() + name.len() + 5;
            luminance(&scheme[start..start + 6])
        };
        let (a, b) = (value(color), value(ground));
        let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
        assert!(contrast >= least, "{color} on {ground}: {contrast:.2} in {scheme}");
    }

    #[test]
    fn colours_can_be_told_from_their_ground_in_both_schemes() {
        let (light, rest) = STYLE.split_once("prefers-color-scheme: dark").unwrap();
        let (dark, _) = rest.split_once("\n}").unwrap();
        for scheme in [light, dark] {
            for ground in ["paper", "card", "panel"] {
                ["ink", "faint"].iter().for_each(|color| check_contrast(scheme, color, ground, 4.5));
            }
            for color in ["base", "c0", "c1", "c2", "c3", "c4", "c5"] {
                check_contrast(scheme, color, "panel", 3.0);
            }
        }
    }
}
