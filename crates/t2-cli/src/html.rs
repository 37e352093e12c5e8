//! Self-contained HTML pages: text, tables and plots in one file, without scripts or downloads.
//!
//! A [`Page`] reads well on a phone and follows the light or dark preference of the reader.

use std::fmt::Write;

const STYLE: &str = include_str!("html/style.css");

/// A page under construction; every text is escaped.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    title: String,
    body: String,
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

    /// Text whose line breaks and spaces count, such as a prompt or an answer.
    pub(crate) fn verbatim(&mut self, text: &str) {
        self.push(&format!("<pre>{}</pre>", escape(text)));
    }

    /// Figures side by side as far as the screen is wide; each is the SVG of a function in `plot`.
    pub(crate) fn figures(&mut self, svgs: &[String]) {
        let figures = svgs.iter().map(|svg| format!("<figure>{svg}</figure>")).collect::<String>();
        self.push(&format!("<div class=\"figures\">{figures}</div>"));
    }

    /// A table; cells that are numbers are flush right.
    pub(crate) fn table(&mut self, header: &[&str], rows: &[Vec<String>]) {
        self.push(&table(header, rows));
    }

    /// The whole document.
    pub(crate) fn finish(self) -> String {
        let Self { title, body } = self;
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n\
             <body>\n<main>\n<h1>{title}</h1>\n{body}</main>\n</body>\n</html>\n"
        )
    }

    fn push(&mut self, html: &str) {
        self.body.push_str(html);
        self.body.push('\n');
    }
}

/// A table as HTML, its text escaped; cells that are numbers are flush right.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let head: String = header.iter().map(|cell| format!("<th>{}</th>", escape(cell))).collect();
    let mut html = format!("<div class=\"scroll\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n");
    for row in rows {
        html.push_str("<tr>");
        for cell in row {
            let class = if is_number(cell) { " class=\"number\"" } else { "" };
            // Writing to a string cannot fail.
            let _ = write!(html, "<td{class}>{}</td>", escape(cell));
        }
        html.push_str("</tr>\n");
    }
    html + "</tbody>\n</table></div>"
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

fn is_number(cell: &str) -> bool {
    cell.starts_with(|c: char| c.is_ascii_digit() || "-+±".contains(c))
        && cell.chars().all(|c| c.is_ascii_digit() || " .,%±+-esx".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("<a href='x'>&\"\u{7}"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;\u{fffd}");
        let mut page = Page::new("</title><script>");
        page.heading("<b>");
        page.paragraph("a < b");
        page.table(&["<th>"], &[vec!["<td>".into()], vec!["41.5 ± 0.2".into()]]);
        let html = page.finish();
        for raw in ["<script>", "<b>", "a < b", "<th><th>", "<td><td>"] {
            assert!(!html.contains(raw), "{raw}");
        }
        assert!(html.contains("<td class=\"number\">41.5 ± 0.2</td>"));
    }
}
