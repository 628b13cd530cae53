//! Completion indexes of an Indexed Job, and how `status.completedIndexes` writes them down: `0,2-5,7`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use k8s_openapi::api::core::v1::Pod;

use crate::framework::meta::annotation;

/// Carried by pods as an annotation and as a label.
pub const COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";

pub type IndexSet = BTreeSet<i32>;

/// The index a pod works on, whether or not the Job (still) has it.
pub fn index_of(pod: &Pod) -> Option<i32> {
    annotation(&pod.metadata, COMPLETION_INDEX)?.parse().ok().filter(|index| *index >= 0)
}

/// Reads a list of indexes and ranges; what is not below `completions` is left out, for a Job may have been shrunk.
pub fn parse(text: &str, completions: i32) -> IndexSet {
    let mut indexes = IndexSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) else { continue };
        indexes.extend(first.max(0)..=last.min(completions - 1));
    }
    indexes
}

/// Writes indexes with runs of three or more as ranges; two neighbours stay separate, as upstream writes them.
pub fn format(indexes: &IndexSet) -> String {
    let mut text = String::new();
    let mut left = indexes.iter().copied().peekable();
    while let Some(first) = left.next() {
        let mut last = first;
        while let Some(next) = left.next_if(|next| *next == last + 1) {
            last = next;
        }
        let comma = if text.is_empty() { "" } else { "," };
        let written = match last - first {
            0 => write!(text, "{comma}{first}"),
            1 => write!(text, "{comma}{first},{last}"),
            _ => write!(text, "{comma}{first}-{last}"),
        };
        written.expect("writing to a string cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_indexes_are_read_and_written() {
        let cases: [(&str, &[i32], &str); 6] = [
            ("", &[], ""),
            ("0", &[0], "0"),
            ("0,1", &[0, 1], "0,1"),
            ("0-2,4", &[0, 1, 2, 4], "0-2,4"),
            ("1,3-5,7", &[1, 3, 4, 5, 7], "1,3-5,7"),
            ("8-12", &[8, 9], "8,9"),
        ];
        for (text, indexes, written) in cases {
            let set = parse(text, 10);
            assert_eq!(set.iter().copied().collect::<Vec<_>>(), indexes, "{text}");
            assert_eq!(format(&set), written);
        }
    }
}
