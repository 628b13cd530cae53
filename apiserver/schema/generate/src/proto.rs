//! A reader of the subset of proto2 that go-to-protobuf writes: flat messages, one field a line, comments above.

#[derive(Debug, Default)]
pub struct Message {
    pub name: String,
    pub doc: Vec<String>,
    pub fields: Vec<Field>,
}

#[derive(Debug, Default)]
pub struct Field {
    pub name: String,
    pub number: u32,
    pub repeated: bool,
    pub map: bool,
    /// A scalar's name, a message of this package, or `.package.Message`.
    pub ty: String,
    pub doc: Vec<String>,
}

pub fn parse(text: &str) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    let mut doc = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix("//") {
            doc.push(comment.strip_prefix(' ').unwrap_or(comment).to_owned());
        } else if let Some(name) = line.strip_prefix("message ").and_then(|rest| rest.strip_suffix(" {")) {
            messages.push(Message { name: name.to_owned(), doc: std::mem::take(&mut doc), fields: Vec::new() });
            inside = true;
        } else if line == "}" {
            inside = false;
        } else if inside && line.ends_with(';') {
            if let (Some(message), Some(field)) = (messages.last_mut(), field(line, std::mem::take(&mut doc))) {
                message.fields.push(field);
            }
        } else if line.is_empty() {
            // A blank line parts a detached comment from what follows.
            doc.clear();
        }
    }
    messages
}

fn field(line: &str, doc: Vec<String>) -> Option<Field> {
    let (declaration, number) = line.strip_suffix(';')?.split_once(" = ")?;
    let number = number.split_whitespace().next()?.parse().ok()?;
    let (declaration, name) = declaration.rsplit_once(' ')?;
    let name = name.to_owned();
    if let Some(map) = declaration.strip_prefix("map<string, ") {
        return Some(Field { name, number, map: true, ty: map.strip_suffix('>')?.to_owned(), doc, ..Field::default() });
    }
    let (label, ty) = declaration.split_once(' ')?;
    Some(Field { name, number, repeated: label == "repeated", ty: ty.to_owned(), doc, ..Field::default() })
}
