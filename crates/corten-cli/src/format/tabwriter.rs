//! Columns from tabs, as Go's `text/tabwriter` makes them.
//!
//! A cell is text that a tab ends; what follows the last tab of a line is no cell and sets no width. A column is as
//! wide as the widest of the neighbouring lines that have a cell there.

use unicode_width::UnicodeWidthStr;

/// Aligns the cells of `text`; a column is at least `minimum` wide and `padding` wider than its widest cell.
pub fn align(text: &str, minimum: usize, padding: usize) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut out = String::with_capacity(text.len() * 2);
    let columns = Columns { lines: &lines, minimum, padding };
    columns.block(&mut out, &mut Vec::new(), 0, lines.len());
    // The last line has no end of its own.
    out.pop();
    out
}

struct Columns<'a> {
    lines: &'a [Vec<&'a str>],
    minimum: usize,
    padding: usize,
}

impl Columns<'_> {
    /// Writes the lines from `from` to `to`, whose first columns have `widths`.
    fn block(&self, out: &mut String, widths: &mut Vec<usize>, mut from: usize, to: usize) {
        let column = widths.len();
        let has_cell = |line: usize| column + 1 < self.lines[line].len();
        let mut at = from;
        while at < to {
            if !has_cell(at) {
                at += 1;
                continue;
            }
            self.write(out, widths, from, at);
            from = at;
            let mut width = self.minimum;
            while at < to && has_cell(at) {
                width = width.max(self.lines[at][column].width() + self.padding);
                at += 1;
            }
            widths.push(width);
            self.block(out, widths, from, at);
            widths.pop();
            from = at;
        }
        self.write(out, widths, from, to);
    }

    fn write(&self, out: &mut String, widths: &[usize], from: usize, to: usize) {
        for line in &self.lines[from..to] {
            for (cell, text) in line.iter().enumerate() {
                out.push_str(text);
                if cell + 1 < line.len()
                    && let Some(width) = widths.get(cell)
                {
                    out.extend(std::iter::repeat_n(' ', width.saturating_sub(text.width())));
                }
            }
            out.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::align;

    #[test]
    fn columns_have_padding_and_a_least_width() {
        assert_eq!(align("A\tB\nx\tlonger text\tz\n", 10, 3), "A         B\nx         longer text   z\n");
        assert_eq!(align("", 10, 3), "");
        assert_eq!(align("no tabs\n", 10, 3), "no tabs\n");
        assert_eq!(align("日本語日本語\tx\n", 10, 3), "日本語日本語   x\n");
    }

    #[test]
    fn a_line_without_the_cell_ends_its_column() {
        assert_eq!(align("a\tb\nlong line\nccccccccccccc\td\n", 3, 1), "a  b\nlong line\nccccccccccccc d\n");
    }
}
