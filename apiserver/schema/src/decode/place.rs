//! Where a walk through a document is.

use crate::model::Struct;

/// Each place lies on the stack of the one above: text is made of it only where there is something to say.
#[derive(Clone, Copy, Default)]
pub(super) struct Place<'a> {
    above: Option<(&'a Place<'a>, Step<'a>)>,
}

#[derive(Clone, Copy)]
pub(super) enum Step<'a> {
    /// A field of a struct.
    Field(&'a Struct, &'a str),
    /// An entry of a map.
    Key(&'a str),
    Index(usize),
}

impl<'a> Place<'a> {
    pub(super) fn below<'b>(&'b self, step: Step<'b>) -> Place<'b> {
        Place { above: Some((self, step)) }
    }

    /// From the root on.
    fn steps(&self) -> Vec<Step<'a>> {
        let mut steps: Vec<Step<'a>> =
            std::iter::successors(self.above, |(place, _)| place.above).map(|(_, step)| step).collect();
        steps.reverse();
        steps
    }

    /// As warnings write it: `spec.containers[0].image`.
    pub(super) fn path(&self) -> String {
        let mut path = String::new();
        for step in self.steps() {
            match step {
                Step::Field(_, name) | Step::Key(name) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(name);
                }
                Step::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        path
    }

    /// As Go's decoder writes it in errors about types: the struct entered last and the names of fields on the way, those of
    /// inlined structs among them; `None` where no struct was entered.
    pub(super) fn go_field(&self) -> Option<String> {
        let mut owner = "";
        let mut names: Vec<&str> = Vec::new();
        for step in self.steps() {
            if let Step::Field(of, name) = step {
                owner = of.go_name();
                names.extend(of.inlined(name));
                names.push(name);
            }
        }
        if names.is_empty() { None } else { Some(format!("{owner}.{}", names.join("."))) }
    }
}
