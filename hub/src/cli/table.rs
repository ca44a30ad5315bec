//! Rows for a person: columns of equal width, and nothing that a terminal would obey.

use std::io::{self, Write};

/// Writes a head and rows. No rows: a sentence that says so.
pub(super) fn write<const N: usize>(
    out: &mut dyn Write,
    head: [&str; N],
    rows: &[[String; N]],
    none: &str,
) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "{none}");
    }
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| printable(cell))).collect();
    let mut widths = head.map(width);
    for row in &rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = width(cell).max(*widest);
        }
    }
    let mut line = |cells: [&str; N]| {
        let mut text = String::new();
        for (cell, widest) in cells.iter().zip(widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', widest.saturating_sub(width(cell)) + 2));
        }
        writeln!(out, "{}", text.trim_end())
    };
    line(head)?;
    rows.iter().try_for_each(|row| line(row.each_ref().map(String::as_str)))
}

/// Text of others without control characters, which could command the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut out = Vec::new();
        let rows = [["a".to_owned(), "1".to_owned()], ["länger".to_owned(), "2".to_owned()]];
        write(&mut out, ["NAME", "N"], &rows, "none").expect("memory");
        assert_eq!(String::from_utf8_lossy(&out), "NAME    N\na       1\nlänger  2\n");
    }

    #[test]
    fn what_a_device_says_cannot_command_the_terminal() {
        let mut out = Vec::new();
        write(&mut out, ["MODEL"], &[["\u{1b}[2Jpump\n".to_owned()]], "none").expect("memory");
        assert_eq!(String::from_utf8_lossy(&out), "MODEL\n\u{fffd}[2Jpump\u{fffd}\n");
    }
}
