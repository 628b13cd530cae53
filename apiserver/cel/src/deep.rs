//! Deep expressions. The language allows 250 levels of nesting, and macros multiply them; recursion over that much does not
//! fit the stack of every thread. The few expressions that are deep get a thread of their own.

use std::thread;

use crate::plan::{Node, Root, StepKey};

/// Enough for what the parser's limits allow, several times over.
const STACK: usize = 256 << 20;

/// Runs on this thread, or on one with a large stack.
pub(crate) fn run<T: Send>(deep: bool, work: impl FnOnce() -> T + Send) -> T {
    if !deep {
        return work();
    }
    thread::scope(|scope| {
        // Memory of a stack is taken when touched; only address space is asked for here.
        let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        let done = thread.expect("a thread can be started").join();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Whether a text may be deep: by its brackets, and by what chains.
pub(crate) fn text(text: &str) -> bool {
    let (mut depth, mut deepest, mut chained) = (0usize, 0, 0);
    for c in text.chars() {
        match c {
            '(' | '[' | '{' => {
                depth += 1;
                deepest = deepest.max(depth);
                chained += 1;
            }
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '.' | '+' | '-' | '*' | '/' | '%' | '?' | '<' | '>' | '=' => chained += 1,
            _ => {}
        }
    }
    deepest > 16 || chained > 100
}

/// Whether a plan is deep.
pub(crate) fn plan(root: &Node) -> bool {
    height(root) > 48
}

fn height(node: &Node) -> usize {
    let highest = |nodes: &mut dyn Iterator<Item = &Node>| nodes.map(height).max().unwrap_or(0);
    1 + match node {
        Node::Const(_) => 0,
        Node::Attr(attr) => {
            let root = match &attr.root {
                Root::Local(_) | Root::Variable(_) => 0,
                Root::Value(node) => height(node),
                Root::Conditional(nodes) => highest(&mut nodes.iter()),
            };
            let keys = highest(&mut attr.path.iter().filter_map(|step| match &step.key {
                StepKey::Const(_) => None,
                StepKey::Node(node) => Some(node),
            }));
            root.max(keys)
        }
        Node::And(terms) | Node::Or(terms) | Node::OptionalOr(terms, _) => highest(&mut terms.iter()),
        Node::NotStrictlyFalse(term) | Node::InConst(term, _) => height(term),
        Node::Call(call) => highest(&mut call.args.iter()),
        Node::List(elements) => highest(&mut elements.iter().map(|(node, _)| node)),
        Node::Map(entries) => highest(&mut entries.iter().flat_map(|(key, value, _)| [key, value])),
        Node::Object(_, fields) => highest(&mut fields.iter().map(|(_, node, _)| node)),
        Node::Fold(fold) => {
            highest(&mut [&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result].into_iter())
        }
    }
}
