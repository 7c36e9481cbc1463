//! Columns of text.

/// Rows of as many cells as `head`, each column as wide as its widest cell.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let head = head.map(str::to_owned);
    let mut widths = [0; N];
    for row in std::iter::once(&head).chain(rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `1 gate`, `2 gates`, `2 addresses`.
pub(super) fn count(number: usize, what: &str) -> String {
    let plural = match number {
        1 => "",
        _ if what.ends_with('s') => "es",
        _ => "s",
    };
    format!("{number} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["é".to_owned(), "bb".to_owned()],
            ["aaaa".to_owned(), String::new()],
        ];
        assert_eq!(table(["A", "B"], &rows), "A     B\né     bb\naaaa\n");
        assert_eq!(
            [count(1, "gate"), count(2, "gate"), count(2, "address")],
            ["1 gate", "2 gates", "2 addresses"]
        );
    }
}
