//! Aligns cells in columns as Go's `text/tabwriter` does.

/// The narrowest column.
const MIN_WIDTH: usize = 10;

/// Aligns tab-terminated cells with a minimum width of ten and `padding` spaces between them.
///
/// A column is a run of lines that have a cell there with a tab after it; each such run has its
/// own width. The text after the last tab of a line belongs to no column.
pub(crate) fn align(text: &str, padding: usize) -> String {
    align_from(text, MIN_WIDTH, padding)
}

/// Aligns with another minimum width.
pub(crate) fn align_from(text: &str, min_width: usize, padding: usize) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut out = String::with_capacity(text.len() * 2);
    let mut aligner = Aligner { lines: &lines, min_width, padding, widths: Vec::new() };
    aligner.block(&mut out, 0, lines.len());
    // What stood after the last newline was no line.
    out.pop();
    out
}

struct Aligner<'a> {
    lines: &'a [Vec<&'a str>],
    min_width: usize,
    padding: usize,
    widths: Vec<usize>,
}

impl Aligner<'_> {
    fn block(&mut self, out: &mut String, begin: usize, end: usize) {
        let column = self.widths.len();
        let mut written = begin;
        let mut line = begin;
        while line < end {
            if column + 1 >= self.lines[line].len() {
                line += 1;
                continue;
            }
            self.write(out, written, line);
            let first = line;
            let mut width = 0;
            while line < end && column + 1 < self.lines[line].len() {
                let cell = self.lines[line][column].chars().count();
                width = width.max(cell + self.padding);
                line += 1;
            }
            self.widths.push(width.max(self.min_width));
            self.block(out, first, line);
            self.widths.pop();
            written = line;
        }
        self.write(out, written, end);
    }

    fn write(&self, out: &mut String, begin: usize, end: usize) {
        for cells in &self.lines[begin..end] {
            for (column, cell) in cells.iter().enumerate() {
                out.push_str(cell);
                if column + 1 < cells.len() {
                    let width = self.widths.get(column).copied().unwrap_or(0);
                    out.push_str(&" ".repeat(width.saturating_sub(cell.chars().count())));
                }
            }
            out.push('\n');
        }
    }
}
