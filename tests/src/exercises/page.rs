//! A chapter's page: Markdown, written from what was seen.

use std::fmt::Write;
use std::path::Path;

use super::{Chapter, Exercise, How};

/// A page in the making.
pub struct Page {
    name: &'static str,
    text: String,
    /// What is only true of the machine the page is made on, and what is shown in its place.
    scrub: Vec<(String, String)>,
    /// Whether a block of typed lines is open.
    open: bool,
}

/// Longer outputs are cut there: a reader looks at their beginning.
const MOST_LINES: usize = 30;

impl Page {
    pub fn begin(chapter: &Chapter, scrub: Vec<(String, String)>) -> Self {
        let Chapter { name, title, intro, context, .. } = chapter;
        let text = format!(
            "# {title}\n\n{intro}\n\nTyped in a shell with `KUBECONFIG` set, in the folder `manifests/exercises`, in a \
             namespace of the chapter's own:\n\n```console\n$ kubectl config use-context {context}\n$ kubectl create \
             namespace {name}\n$ kubectl config set-context --current --namespace {name}\n```\n",
        );
        Self { name: chapter.name, text, scrub, open: false }
    }

    pub fn exercise(&mut self, exercise: &Exercise) {
        self.close();
        let _ = write!(self.text, "\n## {}\n\n{}\n", exercise.title, exercise.why);
    }

    pub fn note(&mut self, text: &str) {
        self.close();
        let _ = write!(self.text, "\n{text}\n");
    }

    pub fn skipped(&mut self, exercise: &Exercise, why: &str) {
        self.close();
        let _ = write!(self.text, "\nNot shown, for the machine this page was made on cannot do it: {why}\n");
        for step in exercise.steps {
            match step {
                super::Step::Note(text) => self.note(text),
                super::Step::Line { how, text, .. } => self.line(text, "", *how),
            }
        }
    }

    pub fn line(&mut self, line: &str, said: &str, how: How) {
        if !self.open {
            self.text.push_str("\n```console\n");
            self.open = true;
        }
        let _ =
            writeln!(self.text, "$ {line}{}", if how == How::Comes { "     # repeat until you see this" } else { "" });
        let said = self.scrub.iter().fold(said.to_owned(), |said, (from, to)| said.replace(from, to));
        let lines: Vec<&str> = said.lines().map(str::trim_end).collect();
        for shown in lines.iter().take(MOST_LINES) {
            let _ = writeln!(self.text, "{shown}");
        }
        if lines.len() > MOST_LINES {
            let _ = writeln!(self.text, "… {} more lines", lines.len() - MOST_LINES);
        }
    }

    fn close(&mut self) {
        if std::mem::take(&mut self.open) {
            self.text.push_str("```\n");
        }
    }

    /// Writes the page into `folder`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(mut self, folder: &Path) -> std::io::Result<()> {
        self.close();
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join(format!("{}.md", self.name)), self.text)
    }
}
