//! Unified diffs with three lines around each change, as difflib makes them, which is what upstream's library follows: the
//! longest run of equal lines first, then what is before and behind it. In long texts frequent lines begin no run.

use std::collections::HashMap;
use std::fmt::Write;
use std::ops::Range;

/// Lines around a change.
const CONTEXT: usize = 3;
/// From so many lines on, those that are more than one in a hundred are frequent.
const LONG: usize = 200;

/// A stretch of both texts; equal in both, or else what was there and what is.
struct Piece {
    equal: bool,
    old: Range<usize>,
    new: Range<usize>,
}

/// What makes `new` of `old`; nothing where they are the same.
pub fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.split('\n').collect(), new.split('\n').collect());
    let mut out = String::new();
    for group in groups(pieces(&old, &new)) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let (was, is) = (span(first.old.start..last.old.end), span(first.new.start..last.new.end));
        let _ = writeln!(out, "@@ -{was} +{is} @@");
        for piece in &group {
            let mut lines = |mark: char, lines: &[&str]| {
                for line in lines {
                    let _ = writeln!(out, "{mark}{line}");
                }
            };
            if piece.equal {
                lines(' ', &old[piece.old.clone()]);
            } else {
                lines('-', &old[piece.old.clone()]);
                lines('+', &new[piece.new.clone()]);
            }
        }
    }
    out
}

/// Where lines are, counted from one: a single number for one line, the line before where there are none.
fn span(lines: Range<usize>) -> String {
    match lines.len() {
        0 => format!("{},0", lines.start),
        1 => format!("{}", lines.start + 1),
        count => format!("{},{count}", lines.start + 1),
    }
}

fn pieces(old: &[&str], new: &[&str]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut i, mut j) = (0, 0);
    for (at, to, count) in matching(old, new) {
        if i < at || j < to {
            pieces.push(Piece { equal: false, old: i..at, new: j..to });
        }
        (i, j) = (at + count, to + count);
        if count > 0 {
            pieces.push(Piece { equal: true, old: at..i, new: to..j });
        }
    }
    pieces
}

/// The runs that are equal, neighbours joined, and an empty one at the end of both.
fn matching(old: &[&str], new: &[&str]) -> Vec<(usize, usize, usize)> {
    let places = places(new);
    let mut runs = Vec::new();
    let mut left = vec![(0..old.len(), 0..new.len())];
    while let Some((a, b)) = left.pop() {
        let (i, j, count) = longest(old, new, &places, &a, &b);
        if count == 0 {
            continue;
        }
        runs.push((i, j, count));
        if a.start < i && b.start < j {
            left.push((a.start..i, b.start..j));
        }
        if i + count < a.end && j + count < b.end {
            left.push((i + count..a.end, j + count..b.end));
        }
    }
    runs.sort_unstable();
    let mut joined: Vec<(usize, usize, usize)> = Vec::new();
    for (i, j, count) in runs {
        match joined.last_mut() {
            Some((x, y, length)) if *x + *length == i && *y + *length == j => *length += count,
            _ => joined.push((i, j, count)),
        }
    }
    joined.push((old.len(), new.len(), 0));
    joined
}

/// Where each line stands, frequent ones of a long text left out.
fn places<'a>(lines: &[&'a str]) -> HashMap<&'a str, Vec<usize>> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, line) in lines.iter().enumerate() {
        places.entry(line).or_default().push(index);
    }
    if lines.len() >= LONG {
        places.retain(|_, at| at.len() <= lines.len() / 100 + 1);
    }
    places
}

/// The longest run of equal lines within both ranges; of several the first.
fn longest(
    old: &[&str],
    new: &[&str],
    places: &HashMap<&str, Vec<usize>>,
    a: &Range<usize>,
    b: &Range<usize>,
) -> (usize, usize, usize) {
    let (mut i, mut j, mut count) = (a.start, b.start, 0);
    // How long the run is that ends at a line of `new`.
    let mut ending: HashMap<usize, usize> = HashMap::new();
    for (x, line) in old.iter().enumerate().take(a.end).skip(a.start) {
        let mut next = HashMap::new();
        for y in places.get(line).into_iter().flatten().copied().filter(|y| b.contains(y)) {
            let length = y.checked_sub(1).and_then(|before| ending.get(&before)).copied().unwrap_or(0) + 1;
            next.insert(y, length);
            if length > count {
                (i, j, count) = (x + 1 - length, y + 1 - length, length);
            }
        }
        ending = next;
    }
    // Frequent lines begin no run, but lengthen one.
    while i > a.start && j > b.start && old[i - 1] == new[j - 1] {
        (i, j, count) = (i - 1, j - 1, count + 1);
    }
    while i + count < a.end && j + count < b.end && old[i + count] == new[j + count] {
        count += 1;
    }
    (i, j, count)
}

/// Changes near each other, with the lines around them.
fn groups(mut pieces: Vec<Piece>) -> Vec<Vec<Piece>> {
    if let Some(first) = pieces.first_mut().filter(|piece| piece.equal) {
        first.old.start = first.old.start.max(first.old.end.saturating_sub(CONTEXT));
        first.new.start = first.new.start.max(first.new.end.saturating_sub(CONTEXT));
    }
    if let Some(last) = pieces.last_mut().filter(|piece| piece.equal) {
        last.old.end = last.old.end.min(last.old.start + CONTEXT);
        last.new.end = last.new.end.min(last.new.start + CONTEXT);
    }
    let mut groups = Vec::new();
    let mut group: Vec<Piece> = Vec::new();
    for mut piece in pieces {
        if piece.equal && piece.old.len() > 2 * CONTEXT {
            let (old, new) = (piece.old.clone(), piece.new.clone());
            group.push(Piece { equal: true, old: old.start..old.start + CONTEXT, new: new.start..new.start + CONTEXT });
            groups.push(std::mem::take(&mut group));
            (piece.old.start, piece.new.start) = (old.end - CONTEXT, new.end - CONTEXT);
        }
        group.push(piece);
    }
    groups.push(group);
    groups.retain(|group| group.iter().any(|piece| !piece.equal));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_difflib_has_it() {
        let numbers = |range: Range<usize>| range.map(|n| n.to_string()).collect::<Vec<_>>().join("\n");
        for (old, new, expected) in [
            ("a\nb", "a\nb", ""),
            ("a", "b", "@@ -1 +1 @@\n-a\n+b\n"),
            ("a\nb\nc", "a\nc", "@@ -1,3 +1,2 @@\n a\n-b\n c\n"),
            ("a\nc", "a\nb\nc", "@@ -1,2 +1,3 @@\n a\n+b\n c\n"),
            // Of equal lines the first serves.
            ("{\n}\n{\n}", "{\n}\n{\nx\n}\n{\n}", "@@ -1,4 +1,7 @@\n {\n }\n {\n+x\n }\n+{\n+}\n"),
        ] {
            assert_eq!(diff(old, new), expected, "{old:?} {new:?}");
        }
        // Changes far from each other are told one after the other.
        let old = numbers(0..30);
        let new = old.replace("\n5\n", "\nx\n").replace("\n20\n", "\n");
        let expected =
            "@@ -3,7 +3,7 @@\n 2\n 3\n 4\n-5\n+x\n 6\n 7\n 8\n@@ -18,7 +18,6 @@\n 17\n 18\n 19\n-20\n 21\n 22\n 23\n";
        assert_eq!(diff(&old, &new), expected);
    }

    #[test]
    fn frequent_lines_begin_no_run() {
        let old: String = (0..150).map(|n| format!("{n}\n}},\n")).collect();
        let new = old.replace("\n70\n", "\nx\n},\ny\n");
        assert_eq!(diff(&old, &new), "@@ -138,7 +138,9 @@\n },\n 69\n },\n-70\n+x\n+},\n+y\n },\n 71\n },\n");
    }
}
